"""Noise schedule, forward process, what the net predicts, samplers: functions on tensors.

Images are float tensors `(B, 3, H, W)` in [-1, 1]. `gamma_t` is SR3's (arXiv 2104.07636), the
cumulative product of the alphas with `gamma_0 = 1`; the `level` that the net sees is
`sqrt(gamma)`.
"""

import lazy_loader

# `times` and `sampling` are read without torch; the names are in __init__.pyi.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
