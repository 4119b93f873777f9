"""Unconditional diffusion models of any origin behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.diffusion.parametrization import Prediction
from cl_sr.errors import InputError
from cl_sr.models.model import Model


class Prior(nn.Module):
    """An unconditional diffusion model: `prior(noisy, timestep)` answers the noise.

    Args:
        net: `net(noisy, timestep)`, whose first channels of output are the noise.
        schedule: the one that it was trained with.
        multiple: H and W must be multiples of this.
        channels: of images: 3, or 1 for grey ones.
        size: H = W of the images that it was trained on, or H and W; None: nobody knows.

    Attributes:
        net, schedule, multiple, channels, size: as above.
    """

    def __init__(
        self,
        net: nn.Module,
        schedule: NoiseSchedule,
        multiple: int = 1,
        channels: int = 3,
        size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.net = net
        self.schedule = schedule
        self.multiple = multiple
        self.size = size

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The noise in images.

        Args:
            noisy: `(B, C, H, W)`, about [-1, 1] plus noise; C as the prior's `channels`.
            timestep: `(B,)` or one number, from 0 (nearly clean) to T - 1: `t` has the noise of
                `schedule.gammas[t + 1]`.

        Returns:
            `(B, C, H, W)`.
        """
        if noisy.shape[1] != self.channels:
            raise ValueError(
                f"the prior takes images of {self.channels} channels, not {noisy.shape[1]}"
            )
        if any(size % self.multiple for size in noisy.shape[-2:]):
            raise ValueError(
                f"the prior needs sizes that are multiples of {self.multiple}, "
                f"not {noisy.shape[-2]}x{noisy.shape[-1]}"
            )
        timestep = torch.as_tensor(timestep, device=noisy.device).flatten().expand(noisy.shape[0])
        noise: Tensor = self.net(noisy, timestep)[:, : self.channels]
        return noise


class NoiseOf(nn.Module):
    """A net of any habits as one that is told the time-step and answers the noise.

    Args:
        net: the network.
        ask: how to call it, `ask(net, noisy, timestep, level)` with `level = sqrt(gamma)`.
        schedule, prediction: those that it was trained with.
    """

    levels: Tensor
    sigmas: Tensor

    def __init__(
        self,
        net: nn.Module,
        ask: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor],
        schedule: NoiseSchedule,
        prediction: Prediction,
    ) -> None:
        super().__init__()
        self.net = net
        self.ask = ask
        self.parametrization = Parametrization(prediction)
        # Where the net is, which may be trained on a device already.
        device = next((weight.device for weight in net.parameters()), None)
        gammas = schedule.gammas[1:]
        self.register_buffer("levels", gammas.sqrt().float().to(device), persistent=False)
        self.register_buffer("sigmas", (1 - gammas).sqrt().float().to(device), persistent=False)

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        level, sigma = self.levels[timestep.long()], self.sigmas[timestep.long()]
        output = self.ask(self.net, noisy, timestep, level)[:, : noisy.shape[1]]
        return self.parametrization.noise(output, noisy, level, sigma)


def _by_level(net: nn.Module, noisy: Tensor, timestep: Tensor, level: Tensor) -> Tensor:
    output: Tensor = net(noisy, None, level)
    return output


def sr3_prior(
    model: Model, schedule: NoiseSchedule | None = None, prediction: Prediction | None = None
) -> Prior:
    """An unconditional SR3 model as a prior.

    Args:
        model: with a net that takes as many channels as it gives.
        schedule, prediction: in the place of its own.

    Raises:
        InputError: a conditional model, or one of another family.
    """
    if model.family != "sr3":
        raise InputError(f"a model of the family {model.family} is no prior: SR3's can be one")
    takes, gives = (model.architecture[name] for name in ("in_channel", "out_channel"))
    if model.conditional or takes != gives:
        raise InputError(
            f"this SR3 network is conditional (it takes {takes} channels and gives {gives}): a "
            "prior is unconditional and takes as many as it gives; start a run from it with --init "
            "instead"
        )
    schedule = schedule or model.schedule
    prediction = prediction or model.parametrization.prediction
    noise = NoiseOf(model.net, _by_level, schedule, prediction)
    return Prior(noise, schedule, model.multiple, gives, model.architecture.get("image_size"))
