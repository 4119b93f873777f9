"""What a strategy may touch of a run: the learner that it is given, and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from cl_sr.diffusion.sampling import Sampling

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cl_sr.data.samples import Samples
    from cl_sr.degradations import Degradation
    from cl_sr.models.model import Net
    from cl_sr.models.objective import Seen

SAMPLING = Sampling(steps=5)


class Images(Protocol):
    """The training images of the experience; random draws are from torch's global generator.

    Attributes:
        flip: whether they are mirrored at random, and images of the past are to be, too.
        shape: of a low-resolution image, `(3, h, w)`; of a grey one `(1, h, w)`.
    """

    flip: bool

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def draw(self, count: int, passes: int = 1) -> Samples:
        """At most `count` of them, at random, cropped and mirrored as for training.

        All come once before any comes again, with another crop and mirroring, in another pass.
        """
        ...

    def low_resolution(self, passes: int = 1) -> Tensor:
        """The low-resolution halves of as many draws, at most 4096: uint8 `(n, 3, h, w)`."""
        ...

    def hold_out(self, count: int) -> None:
        """Keep the last `count` from training, to choose something on. To be called in `adapt`.

        Where several strategies hold out images, the largest number counts.
        """
        ...

    @property
    def held_out(self) -> Samples:
        """Those that were kept from training."""
        ...


class Learner(Protocol):
    """A run, as its strategies see it.

    Attributes:
        number: of the experience that is being learnt, or was last; from 0.
        last: whether no experience comes after it. A run that goes on from this one asks once
            more for all that is done at the end of an experience, and then it is not the last.
        net: the net that is trained.
        lr: the learning rate of the experience, which `adapt` may change.
        device: where the net is.
        seed: of the run.
        seen: what the net was shown in this iteration; None between iterations.
        images: the training images of the experience.
        degradation: how low-resolution images are made.
    """

    lr: float

    @property
    def number(self) -> int: ...
    @property
    def last(self) -> bool: ...
    @property
    def net(self) -> nn.Module: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def seed(self) -> int: ...
    @property
    def seen(self) -> Seen | None: ...
    @property
    def images(self) -> Images: ...
    @property
    def degradation(self) -> Degradation: ...

    def weights(self) -> Tensor:
        """All weights of the net that is trained as one vector, with gradients."""
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights for inference (the moving average, where there is one), by name.

        The names are those of the plain net; adapters are added to its weights.
        """
        ...

    def net_of(self, weights: Mapping[str, Tensor]) -> Net:
        """The net with other weights, for answers without gradients.

        Args:
            weights: as `state` gives them. While the same dictionary is asked for again, in the
                same experience, the net is kept.
        """
        ...

    def denoising_loss(self, samples: Samples, experience: int) -> Tensor:
        """The loss of samples as it is trained in an experience, at new draws of t and noise.

        The net is in evaluation mode for it. `experience` decides on the window of time-steps.
        """
        ...

    def restore(
        self,
        lr: Tensor,
        seeds: Sequence[int],
        weights: Mapping[str, Tensor],
        sampling: Sampling = SAMPLING,
        batch: int = 64,
    ) -> Tensor:
        """High-resolution images with some weights.

        How the run is evaluated has no say in it: a strategy brings a sampling of its own, see
        `cl_sr.strategies.drawing`.

        Args:
            lr: uint8 `(B, 3, h, w)`.
            seeds: one an image.
            weights: as `state` gives them.
            sampling: how they are drawn; the default is ddim in 5 steps.
            batch: most images at a time.

        Returns:
            `(B, 3, H, W)` in [-1, 1], on the device.
        """
        ...
