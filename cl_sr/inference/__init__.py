"""Images from a trained model: its weights, the memory of its strategy, a way of sampling."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
