"""Restoration without training for it: linear operators with pseudo-inverses, and DDNM."""

from cl_sr.zero_shot.ddnm import ddnm
from cl_sr.zero_shot.operators import AveragePool, Bicubic, Operator, check_operator

__all__ = ["AveragePool", "Bicubic", "Operator", "check_operator", "ddnm"]
