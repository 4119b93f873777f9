"""Experts by noise level: adapted weights inside the fine-tuned window, the old ones outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cl_sr.strategies.base import Memory, option
from cl_sr.strategies.timestep_window import TimestepWindow

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.strategies.base import Net
    from cl_sr.training.template import SR3Template


@dataclass(frozen=True)
class WindowExperts(TimestepWindow):
    """As `timestep-window`, and restores with the old weights at all other time-steps.

    An expert for each range of noise (as in eDiff-I; Balaji et al., arXiv 2211.01324, Sec. 4):

        f(x, y_t, level_t) = f_new where t in {start + 1, ..., stop}, else f_first,

    the adapted net's answer, and that of the first domain's weights, which fine-tuning on the
    window alone would leave to chance.

    Memory: the first domain's weights, also at inference. Time: as fine-tuning.
    """

    plain_start: ClassVar[bool] = True

    stop: int = option(1000, "high-noise end of the window, at most T (diffusion.steps)")

    def end(self, template: SR3Template, memory: Memory) -> None:
        if template.number == 0:
            memory["first"] = template.inference_state

    def extra_parameters(self, memory: Memory) -> int:
        return sum(weight.numel() for weight in memory.get("first", {}).values())

    def denoiser(self, template: SR3Template, memory: Memory, lr: Tensor) -> Net:
        if template.number == 0 or "first" not in memory:
            return template.inference_net
        first = template.net_of(memory["first"])
        adapted = template.inference_net
        levels = template.model.schedule.gammas.sqrt()
        # Borders between two time-steps, as levels are rounded; none above t = 1.
        low = float(levels[self.stop : self.stop + 2].mean())
        high = float(levels[self.start : self.start + 2].mean()) if self.start else 2.0

        def net(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
            inside = (level >= low) & (level < high)
            answer = first(noisy, condition, level) if not inside.all() else noisy
            if not inside.any():
                return answer
            new = adapted(noisy, condition, level)
            return new.where(inside.view(-1, 1, 1, 1), answer.to(new.dtype))

        return net
