"""How a low-resolution image comes about, as objects; the condition made from it; pixels.

Those that are linear have exact pseudo-inverses and serve DDNM as operators.
"""

from cl_sr.degradations.base import Degradation
from cl_sr.degradations.linear import AveragePool, Bicubic
from cl_sr.degradations.registry import DEGRADATIONS, build_degradation

__all__ = ["DEGRADATIONS", "AveragePool", "Bicubic", "Degradation", "build_degradation"]
