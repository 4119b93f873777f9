"""Continual-learning strategies: what is done against forgetting. One file each, beside `base`."""

from cl_sr.strategies.base import Strategy, find_strategy, shipped_strategies, spell

__all__ = ["Strategy", "find_strategy", "shipped_strategies", "spell"]
