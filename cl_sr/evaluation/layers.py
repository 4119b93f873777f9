"""Which layers forget: what it does to put the old weights of some back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

State = Mapping[str, Tensor]

# By kind, and then by place along the net.
KINDS = {
    "norms and biases": r"\.bias$|\.block\.0\.|\.norm\.",
    "noise level": r"noise_level_mlp|noise_func",
    "attention": r"\.attn\.",
}


@dataclass(frozen=True)
class Swap:
    """What it does to put the old weights of some layers back, in dB of PSNR.

    Attributes:
        layers: which.
        weights: how many numbers they have.
        source: the change on the earlier domain: what these layers forgot.
        target: the change on the new domain: what they learnt.
    """

    layers: str
    weights: int
    source: float
    target: float


def groups(names: list[str]) -> dict[str, list[str]]:
    """Names of weights, by kind and by place (`downs.0`, `mid.1`, ...)."""
    found = {kind: [n for n in names if re.search(kind_of, n)] for kind, kind_of in KINDS.items()}
    for name in names:
        place = re.match(r"(?:downs|mid|ups)\.\d+|[^.]+", name)
        assert place is not None
        found.setdefault(place[0], []).append(name)
    return {group: members for group, members in found.items() if members}


def swaps(
    old: State, new: State, source: Callable[[State], float], target: Callable[[State], float]
) -> list[Swap]:
    """Put each group's old weights back, one at a time.

    Args:
        old, new: weights before and after an experience.
        source, target: the PSNR in dB of some weights, on the earlier and on the new domain.
    """
    before = source(new), target(new)
    found = []
    for group, names in groups(list(new)).items():
        state = {**new, **{name: old[name] for name in names}}
        weights = sum(new[name].numel() for name in names)
        found.append(Swap(group, weights, source(state) - before[0], target(state) - before[1]))
    return found
