"""What strategies tell of themselves, and which of them cannot act together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from cl_sr.diffusion.sampling import Sampling


class Does(Enum):
    """What a strategy does that another may be in the way of."""

    HOLDS_WEIGHTS = "holds weights to those of before, by a penalty"
    FREEZES_WEIGHTS = "leaves some weights out of training"
    MOVES_WEIGHTS = "goes elsewhere than to the trained weights when an experience ends"
    RESETS_WEIGHTS = "starts every domain from weights that have learnt nothing"
    SEPARATES_WEIGHTS = "has weights of its own for every domain"
    KEEPS_WEIGHTS = "restores with the weights of an earlier domain, too"
    JOINS_DOMAINS = "learns several domains at once"
    TRAINS_A_PRIOR = "trains a prior that no other domain is learnt with"
    SETS_WINDOW = "trains on some time-steps alone"
    SETS_PACE = "changes the learning rate alone"


@dataclass(frozen=True)
class ZeroShot:
    """What is trained, if anything, is an unconditional prior; images are restored by DDNM.

    Attributes:
        sampling: how.
        prior: a file; empty: it is trained.
        arguments: of the prior's net, which the file does not tell.
    """

    sampling: Sampling
    prior: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Traits:
    """A strategy, to those that run it and to other strategies.

    Attributes:
        does: what others may be in the way of.
        plain_start: whether the first experience is trained as by plain fine-tuning, and is only
            remembered afterwards: then the runs of a sweep train it once and start from its
            weights (`--init`). A class says it of itself: what derives from it says it again.
        needs_past: whether it does nothing unless another strategy rehearses images of the past.
        contiguous: whether weights must lie in memory as PyTorch has them, not with their channels
            last.
        zero_shot: of a baseline that trains no super-resolution.
    """

    does: frozenset[Does] = frozenset()
    plain_start: bool = False
    needs_past: bool = False
    contiguous: bool = False
    zero_shot: ZeroShot | None = None


# Why two cannot act together; `{one}` and `{other}` do what stands first and second.
CONFLICTS = {
    (Does.SEPARATES_WEIGHTS, Does.SEPARATES_WEIGHTS): (
        "each adapts the first domain's weights in its way"
    ),
    (Does.SEPARATES_WEIGHTS, Does.MOVES_WEIGHTS): (
        "an adapter is kept as it was trained, not part of the way"
    ),
    (Does.SEPARATES_WEIGHTS, Does.HOLDS_WEIGHTS): (
        "every domain has weights of its own, and {other} would hold them"
    ),
    (Does.SEPARATES_WEIGHTS, Does.FREEZES_WEIGHTS): (
        "{one} has an option of its own for which layers are trained"
    ),
}
# What must be alone: why, and what others may do beside it.
ALONE = {
    Does.RESETS_WEIGHTS: (
        "the weights start anew at every domain, and nothing of the past is to be kept",
        {Does.SETS_PACE, Does.SETS_WINDOW},
    ),
    Does.JOINS_DOMAINS: (
        "all domains are learnt at once, and there is no past to protect",
        {Does.SETS_PACE},
    ),
    Does.TRAINS_A_PRIOR: ("nothing is trained but the prior", {Does.SETS_PACE}),
}


def conflict(one: frozenset[Does], other: frozenset[Does]) -> str:
    """Why what does `one` cannot act together with what does `other`; empty where it can.

    `{one}` and `{other}` in it stand for their names.
    """
    for mine in one:
        why, beside = ALONE.get(mine, ("", set()))
        if why and not (other and other <= beside):
            return why
    for (first, second), why in CONFLICTS.items():
        if first in one and second in other:
            return why
    return ""
