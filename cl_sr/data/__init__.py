"""Image domains: folders of real images, procedural stand-ins, splits, samples."""
