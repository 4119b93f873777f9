"""Families of models, one file each: what they are told in a configuration, and how one is made."""
