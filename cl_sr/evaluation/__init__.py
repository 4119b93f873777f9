"""Image metrics by protocol, the forgetting matrix, intervals: each notion is defined once."""

import lazy_loader

# What reads tables of results does without torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
