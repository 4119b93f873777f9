"""Continual-learning strategies: what is done against forgetting. One file each.

`base` is the plug-in API, `composition` joins several into one, `registry` finds them by name.
"""

from cl_sr.strategies.base import Memory, Strategy, option
from cl_sr.strategies.composition import Composition, compose
from cl_sr.strategies.registry import find_strategy, shipped_strategies, spell

__all__ = [
    "Composition",
    "Memory",
    "Strategy",
    "compose",
    "find_strategy",
    "option",
    "shipped_strategies",
    "spell",
]
