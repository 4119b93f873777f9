"""Trained weights for other people: a folder or a repository on the hub, with a model card."""
