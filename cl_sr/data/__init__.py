"""Image domains: folders of real images, procedural stand-ins, resizing, training pairs."""
