"""What a model is: a net, and all that one must know to train it and to draw images with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from cl_sr.diffusion import Denoiser, NoiseSchedule, Parametrization

# net(noisy, shown, level): what is diffused with noise, what the net is shown of the low-resolution
# image (None: nothing), and sqrt(gamma) `(B,)`.
Net = Callable[[Tensor, Tensor | None, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Model:
    """A diffusion model: what is diffused, by which net and schedule.

    The methods are SR3's. A family that shows its net something else than the enlarged image, or
    diffuses something else than pixels, overrides them. Weights, also of an encoder or of an
    autoencoder, are all in `net`; those that do not require gradients are never trained.

    Attributes:
        net: a module that is called as `Net`.
        schedule: the noise schedule.
        parametrization: what the net predicts, and whether images or residuals are diffused.
        conditional: whether the net sees the low-resolution image; else it is a prior.
        scale: that it was trained for, where that is known.
        family: its name, see `cl_sr.models.family`.
        architecture: the arguments that the family makes the net from, of JSON values; by
            default the `config` of the net, where it has one.
        title: what to call it.
        clip: whether each estimate of the clean image is clamped to [-1, 1] while sampling.
    """

    net: nn.Module
    schedule: NoiseSchedule
    parametrization: Parametrization = field(default_factory=Parametrization)
    conditional: bool = True
    scale: int | None = None
    family: str = "sr3"
    architecture: Mapping[str, Any] = field(default_factory=dict)
    title: str = "SR3"

    clip: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.architecture:
            object.__setattr__(self, "architecture", getattr(self.net, "config", {}))

    @property
    def multiple(self) -> int:
        """H and W of images must be multiples of it: the net halves its input so often."""
        return int(2 ** max(0, len(self.architecture.get("channel_mults", ())) - 1))

    def __call__(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        """The noise in what is diffused, so that `cl_sr.diffusion.sample(model, condition)` draws.

        Args:
            noisy: `(B, C, ...)`.
            condition: as `Degradation.condition` makes it, `(B, 3, H, W)` in [-1, 1]; it is not
                looked at where the model is unconditional.
            level: `sqrt(gamma)`, `(B,)`.

        Raises:
            TypeError: the net of this family is shown something else than the condition.
        """
        if type(self).shown is not Model.shown:
            raise TypeError(
                f"the net of a {type(self).__name__} is shown something of the low-resolution "
                "image itself, which sample does not have: restore with cl_sr.load"
            )
        denoise = Denoiser(self.net, self.parametrization)
        return denoise(noisy, condition if self.conditional else None, level)

    def shown(self, lr: Tensor, condition: Tensor) -> Tensor | None:
        """What the net is shown of low-resolution images: made once, for all sampling steps.

        Args:
            lr: `(B, 3, h, w)` in [-1, 1].
            condition: the same at the size of high-resolution images (`Degradation.condition`),
                `(B, 3, H, W)` in [-1, 1].
        """
        return condition if self.conditional else None

    def encode(self, images: Tensor, condition: Tensor) -> Tensor:
        """What is diffused, `(B, C, ...)`, from images `(B, 3, H, W)` in [-1, 1]."""
        return self.parametrization.encode(images, condition)

    def decode(self, diffused: Tensor, condition: Tensor) -> Tensor:
        """The images in about [-1, 1] from what is diffused: the inverse of `encode`."""
        return self.parametrization.decode(diffused, condition)

    def shape(self, condition: Tensor) -> tuple[int, ...]:
        """Of what is diffused, for images of the size of `condition`."""
        return tuple(condition.shape)

    def with_net(self, net: nn.Module) -> Model:
        """The same with another net of its architecture."""
        return replace(self, net=net)


def image_channels(model: Model) -> int:
    """Of the images of a model: 3, or what its net says by an attribute `channels` (1: grey)."""
    return int(getattr(model.net, "channels", 3))
