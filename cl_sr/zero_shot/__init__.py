"""Restoration without training for it: DDNM, and the linear operators that it inverts."""

from cl_sr.degradations import AveragePool, Bicubic
from cl_sr.zero_shot.ddnm import ddnm
from cl_sr.zero_shot.operators import Operator, check_operator

__all__ = ["AveragePool", "Bicubic", "Operator", "check_operator", "ddnm"]
