"""The training step of a diffusion model, as the one-input module that plugins expect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cl_sr.data.samples import Samples
from cl_sr.degradations import Degradation
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import draw_levels, q_sample
from cl_sr.models.model import Model


@dataclass(frozen=True)
class Seen:
    """What the net was shown in one iteration, and what it answered.

    Attributes:
        noisy, condition, level: its input; `condition` is what it was shown of the low-resolution
            images, None for an unconditional net.
        answer: like `noisy`, with gradients.
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

    def packed(self) -> Tensor:
        """What the criterion takes: answer and truth, one beside the other, `(B, 2 C, ...)`."""
        return torch.cat([self.answer, self.truth], dim=1)

    def with_truth(self, truth: Tensor) -> Seen:
        return replace(self, truth=truth)

    def with_past(self, rows: Mapping[str, slice]) -> Seen:
        """Told which rows are of the past."""
        new = min((given.start for given in rows.values()), default=self.new)
        return replace(self, new=new, rows=rows)


class Objective(nn.Module):
    """Draws noise levels and noise inside `forward`, and returns answer and truth side by side.

    Plugins such as EWC or A-GEM call `model(x)` and the criterion by themselves; with this module
    and `DenoisingLoss` they see the diffusion objective without knowing of it.

    Args:
        model: that is trained.
        degradation: that made the low-resolution images.

    Attributes:
        net: of the model.
        window: the time-steps to draw from, `{start + 1, ..., stop}`.
    """

    def __init__(self, model: Model, degradation: Degradation) -> None:
        super().__init__()
        self.net = model.net
        self.degradation = degradation
        self.window = (0, model.schedule.steps)
        self._model = model

    @property
    def model(self) -> Model:
        """The model with the net of this module, which may be a copy (a moving average)."""
        return self._model if self._model.net is self.net else self._model.with_net(self.net)

    def forward(self, packed: Tensor) -> Tensor:
        """Packed samples, uint8 `(B, C, H, W)`, to float: the net's answer over the perfect one."""
        return self.show(packed).packed()

    def show(self, packed: Tensor, window: tuple[int, int] | None = None) -> Seen:
        """One training step's input, answer and truth.

        Args:
            packed: uint8 `(B, C, H, W)`, see `cl_sr.data.samples`.
            window: in the place of this module's.
        """
        model = self.model
        samples = Samples.unpack(packed, self.degradation.scale)
        condition = to_floats(self.degradation.condition(samples.lr))
        diffused = model.encode(to_floats(samples.hr), condition)
        level = draw_levels(model.schedule, len(packed), *(window or self.window))
        level = level.to(packed.device)
        noise = torch.randn_like(diffused)
        noisy = q_sample(diffused, level, noise)
        shown = model.shown(to_floats(samples.lr), condition)
        answer = self.net(noisy, shown, level)
        truth = model.parametrization.output(diffused, noise, level)
        return Seen(noisy, shown, level, answer.float(), truth, len(packed))


class DenoisingLoss(nn.Module):
    """The mean error of an `Objective`'s answer: `l2` (SR3, Eq. 6; Saini et al., Eq. 9) or `l1`."""

    def __init__(self, kind: str = "l2") -> None:
        super().__init__()
        self.distance = {"l2": F.mse_loss, "l1": F.l1_loss}[kind]

    def forward(self, packed_output: Tensor, _: Tensor | None) -> Tensor:
        answer, truth = packed_output.chunk(2, dim=1)
        return self.distance(answer, truth)
