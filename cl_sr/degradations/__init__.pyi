from .base import Degradation as Degradation
from .linear import AveragePool as AveragePool
from .linear import Bicubic as Bicubic
from .registry import DEGRADATIONS as DEGRADATIONS
from .registry import build_degradation as build_degradation
