"""Continual-learning strategies: what is done against forgetting. One file each, beside `base`."""

from cl_sr.strategies.base import Strategy, find_strategy, shipped_strategies

__all__ = ["Strategy", "find_strategy", "shipped_strategies"]
