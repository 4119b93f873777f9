"""Continual-learning strategies: what is done against forgetting. One file each.

`base` is the plug-in API, `traits` what strategies tell of themselves, `learner` what they may
touch; `choice` and `registry` find them by name, `composition` calls them.
"""

from cl_sr.strategies.base import Experts, Strategy, option, other_options
from cl_sr.strategies.choice import Choice, spell
from cl_sr.strategies.composition import Composition
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.registry import (
    check_option,
    compose,
    find_strategy,
    installed_strategies,
    read_choices,
    shipped_strategies,
    typed,
)
from cl_sr.strategies.traits import Does, Traits, ZeroShot

__all__ = [
    "Choice",
    "Composition",
    "Does",
    "Experts",
    "Memory",
    "Strategy",
    "Traits",
    "ZeroShot",
    "check_option",
    "compose",
    "find_strategy",
    "installed_strategies",
    "option",
    "other_options",
    "read_choices",
    "shipped_strategies",
    "spell",
    "typed",
]
