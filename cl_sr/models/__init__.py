"""Models: a net with its schedule and parametrization, by families; weights on disk."""

import lazy_loader

# `family` and `description` are read without torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
