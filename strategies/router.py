"""Adapters chosen image by image, from the low-resolution input alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Experts, option
from cl_sr.strategies.lora import Lora
from cl_sr.strategies.memory import Memory
from cl_sr.strategies.traits import Does, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.models.gaussian import Gaussian
    from cl_sr.strategies.learner import Learner

SIDE = 8  # pixels: what domains differ in is seen at this size
COMPONENTS = 32  # of the Gaussians
PASSES = 16  # over a small domain, to see other crops of its images


@dataclass(frozen=True)
class Router(Lora):
    """As `lora`, and restores each image with the adapter of the domain that it looks like.

    The domain is that of the largest likelihood of the low-resolution image, shrunk to 8x8 pixels,
    under a scale mixture of Gaussians a domain (`cl_sr.models.gaussian`),

        d(x) = argmax_d log sum_s pi_ds N(x; mu_d, s Sigma_d),

    and the image is restored with W_0 + B_d A_d; no label is needed at test time. The idea is that
    of *Expert Gate* (Aljundi et al., arXiv 1611.06194), which has an autoencoder a domain.

    It trains the weights, from those of the last domain, and keeps their change as an adapter
    (`train=weights,start=last`, see `lora`).

    Memory: that of `lora`, and 33 images of 8x8 floats a domain. Time: as fine-tuning.
    """

    traits: ClassVar[Traits] = Traits(does=frozenset({Does.SEPARATES_WEIGHTS}), plain_start=True)

    rank: int = option(64, "of the adapters")
    train: Literal["factors", "weights"] = option("weights", "what is trained, see lora")
    start: Literal["first", "last"] = option("last", "see lora")
    scales: int = option(8, "of the mixture that tells the domains apart")

    def check(self, steps: int, shapes: Mapping[str, Sequence[int]] | None = None) -> None:
        super().check(steps, shapes)
        if not 1 <= self.scales <= 64:
            raise InputError("strategy router: scales must be from 1 to 64")

    def begin(self, learner: Learner, memory: Memory) -> None:
        from cl_sr.degradations.pixels import to_floats
        from cl_sr.models.gaussian import Gaussian

        low = to_floats(learner.images.low_resolution(PASSES))
        # Few images span few directions, and must leave some variance to all others.
        components = min(COMPONENTS, max(1, len(learner.images) // 2))
        small = _shrunk(low, min(SIDE, *low.shape[-2:]))
        domain = Gaussian.fit(small, components, self.scales)
        # On the CPU it is fitted; where images are routed it is needed.
        memory[f"domain-{learner.number}"] = {
            name: part.to(learner.device) for name, part in domain.tensors().items()
        }

    def experts(self, memory: Memory) -> Experts | None:
        from cl_sr.models.gaussian import Gaussian

        domains: list[Gaussian] = []
        while (known := memory.get(f"domain-{len(domains)}")) is not None:
            domains.append(Gaussian(**known))
        if not domains:
            return None
        adapters = [memory.get(f"adapter-{k}", {}) for k in range(len(domains))]
        parts = [*adapters, *(domain.tensors() for domain in domains)]
        extra = sum(t.numel() for part in parts for t in part.values())
        if len(domains) == 1:  # nothing to tell apart
            return Experts(extra)
        return ByLook(extra, domains, memory.get("base", {}), adapters)


class ByLook(Experts):
    """An expert a domain: the first weights with the adapter of what an image looks like.

    The last domain is restored by the net as it is: it may still be learnt.
    """

    def __init__(
        self,
        extra_parameters: int,
        domains: Sequence[Gaussian],
        base: Mapping[str, Tensor],
        adapters: Sequence[Mapping[str, Tensor]],
    ) -> None:
        super().__init__(extra_parameters)
        self.domains = domains
        self.base = base
        self.adapters = adapters

    def route(self, lr: Tensor) -> Tensor:
        import torch

        # Images of any size are seen at the size at which the domains were.
        small = _shrunk(lr, math.isqrt(self.domains[0].mean.numel() // lr.shape[1]))
        return torch.stack([domain.log_likelihood(small) for domain in self.domains]).argmax(0)

    def weights(self, number: int) -> Mapping[str, Tensor] | None:
        from cl_sr.models.lora import merged

        if number == len(self.domains) - 1:
            return None
        return merged(self.base, self.adapters[number])


def _shrunk(lr: Tensor, side: int) -> Tensor:
    from torch.nn import functional as F

    return lr if lr.shape[-2:] == (side, side) else F.interpolate(lr, (side, side), mode="area")
