"""How a low-resolution image comes about, as objects; the condition made from it; pixels.

Those that are linear have exact pseudo-inverses and serve DDNM as operators.
"""

import lazy_loader

# The registry is read without torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
