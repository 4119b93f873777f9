"""Adapters chosen image by image, from the low-resolution input alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from cl_sr.errors import InputError
from cl_sr.strategies.base import Memory, option
from cl_sr.strategies.lora import Lora

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.models.gaussian import Gaussian
    from cl_sr.strategies.base import Net
    from cl_sr.training.template import SR3Template

SIDE = 8  # pixels: what domains differ in is seen at this size
COMPONENTS = 32  # of the Gaussians
PASSES = 16  # over a small domain, to see other crops of its images


@dataclass(frozen=True)
class Router(Lora):
    """As `lora`, and restores each image with the adapter of the domain that it looks like.

    The domain is that of the largest likelihood of the low-resolution image, shrunk to 8 pixels,
    under a scale mixture of Gaussians a domain (`cl_sr.models.gaussian`),

        d(x) = argmax_d log sum_s pi_ds N(x; mu_d, s Sigma_d),

    and the image is restored with W_0 + B_d A_d; no label is needed at test time. The idea is that
    of *Expert Gate* (Aljundi et al., arXiv 1611.06194), which has an autoencoder a domain.

    It trains the weights, from those of the last domain, and keeps their change as an adapter
    (`train=weights,start=last`, see `lora`).

    Memory: that of `lora`, and 33 images of 8x8 floats a domain. Time: as fine-tuning.
    """

    plain_start: ClassVar[bool] = True

    rank: int = option(64, "of the adapters")
    train: Literal["factors", "weights"] = option("weights", "what is trained, see lora")
    start: Literal["first", "last"] = option("last", "see lora")
    scales: int = option(8, "of the mixture that tells the domains apart")

    def check(self, steps: int) -> None:
        super().check(steps)
        if not 1 <= self.scales <= 64:
            raise InputError("strategy router: scales must be from 1 to 64")

    def begin(self, template: SR3Template, memory: Memory) -> None:
        from cl_sr.models.gaussian import Gaussian

        low = template.low_resolution_images(PASSES).float() / 127.5 - 1
        # Few images span few directions, and must leave some variance to all others.
        components = min(COMPONENTS, max(1, len(template.adapted_dataset) // 2))
        domain = Gaussian.fit(_small(low), components, self.scales)
        # On the CPU it is fitted; where images are routed it is needed.
        memory[f"domain-{template.number}"] = {
            name: part.to(template.device) for name, part in domain.tensors().items()
        }

    def choose(self, memory: Memory, lr: Tensor) -> Tensor:
        """The number of the domain that each image `(B, 3, h, w)` in [-1, 1] looks like, `(B,)`."""
        import torch

        from cl_sr.models.gaussian import Gaussian

        domains: list[Gaussian] = []
        while (known := memory.get(f"domain-{len(domains)}")) is not None:
            domains.append(Gaussian(**known))
        small = _small(lr)
        return torch.stack([domain.log_likelihood(small) for domain in domains]).argmax(0)

    def extra_parameters(self, memory: Memory) -> int:
        parts = [part for name, part in memory.items() if name.startswith(("adapter-", "domain-"))]
        return sum(_numbers(part) for part in parts)

    def denoiser(self, template: SR3Template, memory: Memory, lr: Tensor) -> Net:
        import torch

        from cl_sr.models.lora import merged

        if "domain-1" not in memory:
            return template.inference_net
        chosen = self.choose(memory, lr)
        base = memory["base"]
        experts: dict[int, Net] = {}
        for k in chosen.unique().tolist():
            if k == template.number:
                experts[k] = template.inference_net
            else:
                adapter = memory.get(f"adapter-{k}", {})
                experts[k] = template.net_of(merged(base, adapter))

        def net(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
            answer = torch.empty_like(noisy)
            for k, expert in experts.items():
                rows = chosen == k
                shown = None if condition is None else condition[rows]
                answer[rows] = expert(noisy[rows], shown, level[rows]).to(answer.dtype)
            return answer

        return net


def _numbers(memory: Memory) -> int:
    return sum(value.numel() for value in memory.values())


def _small(lr: Tensor) -> Tensor:
    from torch.nn import functional as F

    return lr if lr.shape[-1] <= SIDE else F.interpolate(lr, (SIDE, SIDE), mode="area")
