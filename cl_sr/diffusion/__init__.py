"""Noise schedule, forward process, what the net predicts, samplers: functions on tensors.

Images are float tensors `(B, 3, H, W)` in [-1, 1]. `gamma_t` is SR3's (arXiv 2104.07636), the
cumulative product of the alphas with `gamma_0 = 1`; the `level` that the net sees is
`sqrt(gamma)`.
"""

from cl_sr.diffusion.parametrization import Denoiser, Parametrization
from cl_sr.diffusion.process import draw_levels, q_sample
from cl_sr.diffusion.samplers import SAMPLERS, sample
from cl_sr.diffusion.schedule import NoiseSchedule

__all__ = [
    "SAMPLERS",
    "Denoiser",
    "NoiseSchedule",
    "Parametrization",
    "draw_levels",
    "q_sample",
    "sample",
]
