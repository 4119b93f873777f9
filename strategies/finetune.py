"""Plain fine-tuning: train on each domain in turn and do nothing about the ones before."""

from dataclasses import dataclass

from cl_sr.strategies.base import Strategy


@dataclass(frozen=True)
class Finetune(Strategy):
    """Plain fine-tuning on all time-steps: the baseline that forgets."""
