"""SR3's training step as the one-input module that Avalanche's plugins expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.data.pairs import unpack
from cl_sr.diffusion import NoiseSchedule, Parametrization, draw_levels, q_sample


@dataclass(frozen=True)
class Seen:
    """What the net was shown in one iteration, and what it answered.

    Attributes:
        noisy, condition, level: its input; `condition` is None for an unconditional net.
        answer: `(B, 3, H, W)`, with gradients.
        truth: what it should have answered.
        new: how many images, the first ones, are of the experience that is learnt.
        rows: the images of the past, by the strategy that gave them.
    """

    noisy: Tensor
    condition: Tensor | None
    level: Tensor
    answer: Tensor
    truth: Tensor
    new: int
    rows: Mapping[str, slice] = field(default_factory=dict)

    @property
    def packed(self) -> Tensor:
        """What the criterion takes: answer and truth side by side, `(B, 6, H, W)`."""
        return torch.cat([self.answer, self.truth], dim=1)

    def with_truth(self, truth: Tensor) -> Seen:
        return replace(self, truth=truth)


class PackedSR3(nn.Module):
    """Draws noise levels and noise inside `forward`, and returns answer and truth side by side.

    Plugins such as EWC or A-GEM call `model(x)` and the criterion by themselves; with this module
    and `DenoisingLoss` they see the diffusion objective without knowing of it.

    Attributes:
        net: `net(noisy, condition, level)`.
        conditional: whether the net sees the low-resolution image.
        window: the time-steps to draw from, `{start + 1, ..., stop}`.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: NoiseSchedule,
        parametrization: Parametrization,
        conditional: bool = True,
    ) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule
        self.parametrization = parametrization
        self.conditional = conditional
        self.window = (0, schedule.steps)

    def forward(self, packed: Tensor) -> Tensor:
        """uint8 `(B, 6, H, W)` to float `(B, 6, H, W)`: the net's answer over the perfect one."""
        return self.show(packed).packed

    def show(self, packed: Tensor) -> Seen:
        """One training step's input, answer and truth, for uint8 `(B, 6, H, W)`."""
        condition, image = unpack(packed)
        diffused = self.parametrization.encode(image, condition)
        level = draw_levels(self.schedule, len(packed), *self.window).to(packed.device)
        noise = torch.randn_like(diffused)
        noisy = q_sample(diffused, level, noise)
        shown = condition if self.conditional else None
        answer = self.net(noisy, shown, level)
        truth = self.parametrization.output(diffused, noise, level)
        return Seen(noisy, shown, level, answer.float(), truth, len(packed))


class DenoisingLoss(nn.Module):
    """The mean error of `PackedSR3`'s answer: `l2` (SR3, Eq. 6; Saini et al., Eq. 9) or `l1`."""

    def __init__(self, kind: str = "l2") -> None:
        super().__init__()
        self.distance = {"l2": F.mse_loss, "l1": F.l1_loss}[kind]

    def forward(self, packed_output: Tensor, _: Tensor) -> Tensor:
        answer, truth = packed_output.chunk(2, dim=1)
        return self.distance(answer, truth)
