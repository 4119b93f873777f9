"""Image metrics: PSNR and SSIM by named protocols, colours, sharpness, and those of pyiqa.

PSNR and SSIM are our own because pyiqa's are other numbers: its PSNR adds 1e-8 to the error (an
identical pair has 80 dB instead of infinity, and a pair of 40 dB is 4e-4 dB off), its SSIM clips
the contrast term at 0 (golden value .6317 against .6302 of the public SR3 code).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from cl_sr.errors import InputError
from cl_sr.evaluation.names import check_metrics
from cl_sr.image_size import ImageSize, sides

Protocol = Literal["rgb8", "y601"]
MAX_PSNR = 80.0  # dB, of an image in a mean; pyiqa's cap


def eight_bit(images: Tensor) -> Tensor:
    """Images in [0, 1], clamped and rounded to the 256 levels: float64 in 0..255."""
    if images.device.type == "mps":  # has no float64
        images = images.cpu()
    return (images.double().clamp(0, 1) * 255).round()


def _channels(images: Tensor, protocol: Protocol) -> Tensor:
    """What the protocol compares: float64 `(B, C, H, W)` on a scale of 255."""
    rgb = eight_bit(images)
    if protocol == "rgb8" or (protocol == "y601" and rgb.shape[1] == 1):
        return rgb
    if protocol == "y601":
        weights = torch.tensor([65.481, 128.553, 24.966], dtype=rgb.dtype, device=rgb.device)
        return (rgb * weights[:, None, None]).sum(1, keepdim=True) / 255 + 16
    raise ValueError(f"unknown protocol {protocol!r}: choose from rgb8, y601")


def _pair(a: Tensor, b: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape or a.ndim != 4 or a.shape[1] not in (1, 3):
        raise ValueError(
            "images must both be (B, 3, H, W), or (B, 1, H, W) where they are grey, not "
            f"{tuple(a.shape)}, {tuple(b.shape)}"
        )
    return _channels(a, protocol), _channels(b, protocol)


def psnr(a: Tensor, b: Tensor, protocol: Protocol = "rgb8") -> Tensor:
    """Peak signal-to-noise ratio in dB, higher is better; infinite for identical images.

    Args:
        a, b: images `(B, 3, H, W)` in [0, 1].
        protocol: `rgb8`: RGB, clamped, rounded to 8 bit, range 255, no border crop (the public
            SR3 code). `y601`: the same on the luma of BT.601 (16..235; BasicSR's Y channel).
            Both take grey images `(B, 1, H, W)` as they are (0..255), as BasicSR does.

    Returns:
        float64 `(B,)`.
    """
    x, y = _pair(a, b, protocol)
    return 10 * torch.log10(255**2 / (x - y).square().mean(dim=(1, 2, 3)))


def ssim(a: Tensor, b: Tensor, protocol: Protocol = "rgb8") -> Tensor:
    """Structural similarity (Wang et al. 2004), higher is better, 1 for identical images.

    An 11-tap Gaussian of sigma 1.5 over the valid region, `K = (0.01, 0.03)`, channel mean: the
    public SR3 code's, and scikit-image's with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`.

    Args:
        a, b: images `(B, 3, H, W)` in [0, 1], at least 11 pixels wide and high.
        protocol: `rgb8` or `y601`, see `psnr`.

    Returns:
        float64 `(B,)`.
    """
    x, y = _pair(a, b, protocol)
    if min(x.shape[-2:]) < 11:
        raise ValueError("SSIM needs images of at least 11x11 pixels")
    taps = torch.arange(-5, 6, dtype=x.dtype, device=x.device)
    kernel = torch.exp(-taps.square() / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    batch, channels = x.shape[:2]

    def blur(images: Tensor) -> Tensor:
        flat = images.flatten(0, 1)[:, None]
        flat = F.conv2d(F.conv2d(flat, kernel[None, None, None, :]), kernel[None, None, :, None])
        return flat.unflatten(0, (batch, channels))[:, :, 0]

    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = blur(x), blur(y)
    var_x = blur(x * x) - mean_x**2
    var_y = blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def colour_error(a: Tensor, b: Tensor) -> Tensor:
    """How far the mean colours of two images are apart, lower is better: a shift of hue.

    Saini et al. (2023), Fig. 8, show such shifts in pictures, without a number.

    Args:
        a, b: images `(B, 3, H, W)` in [0, 1].

    Returns:
        float64 `(B,)`: mean over the channels of |mean of a - mean of b|, on a scale of 255.
    """
    x, y = _pair(a, b, "rgb8")
    return (x - y).mean(dim=(2, 3)).abs().mean(dim=1)


def sharpness(a: Tensor, b: Tensor) -> Tensor:
    """How strong the edges of `a` are beside those of `b`: 1 as strong, below 1 blurred.

    PSNR rewards blur: an average of all plausible images has the smallest error. This tells it
    from having learnt more.

    Args:
        a, b: images `(B, 3, H, W)` in [0, 1].

    Returns:
        float64 `(B,)`: the root of the mean squared difference of neighbouring pixels, over that
        of `b`; one level of 255 is added to both squares, so that a plain image has a value.
    """

    def energy(x: Tensor) -> Tensor:
        across, down = x.diff(dim=3), x.diff(dim=2)
        return across.square().mean(dim=(1, 2, 3)) + down.square().mean(dim=(1, 2, 3))

    x, y = _pair(a, b, "rgb8")
    return ((energy(x) + 1) / (energy(y) + 1)).sqrt()


@dataclass(frozen=True)
class ImageMetric:
    """A metric with a direction: `measure(sr, hr)` for images `(B, 3, H, W)` in [0, 1]."""

    name: str
    higher_is_better: bool
    measure: Callable[[Tensor, Tensor], Tensor]

    def of(self, sr: Tensor, hr: Tensor) -> list[float]:
        """The metric of each pair of images `(B, 3, H, W)` in [-1, 1]."""
        return self.measure((sr + 1) / 2, (hr + 1) / 2).tolist()


def build_metrics(
    names: Sequence[str], protocol: Protocol, size: ImageSize, device: torch.device
) -> list[ImageMetric]:
    """Metrics by name: those of this file, and whatever pyiqa compares image by image.

    Raises:
        InputError: unknown name; a metric whose weights cannot be had, or that does not work
            with images of `size` pixels (H = W, or H and W).
    """
    check_metrics(names)
    # One perfect image, such as a crop of plain sky, would make the mean of its domain infinite.
    own = {
        "psnr": ImageMetric("psnr", True, lambda a, b: psnr(a, b, protocol).clamp(max=MAX_PSNR)),
        "ssim": ImageMetric("ssim", True, lambda a, b: ssim(a, b, protocol)),
        "colour_error": ImageMetric("colour_error", False, colour_error),
        "sharpness": ImageMetric("sharpness", True, sharpness),
    }
    return [own[name] if name in own else _pyiqa(name, size, device) for name in names]


def _pyiqa(name: str, size: ImageSize, device: torch.device) -> ImageMetric:
    import pyiqa  # takes seconds, and few runs need it

    try:
        model: Any = pyiqa.create_metric(name, device=device)
    except Exception as error:  # downloads fail in as many ways as there are hosts
        raise InputError(
            f"eval.metrics: {name} cannot be loaded ({_short(error)}): where there is no network, "
            f"copy {torch.hub.get_dir()} from a machine that has used the metric, or leave it out"
        ) from error

    def measure(sr: Tensor, hr: Tensor) -> Tensor:
        sr, hr = (images.expand(-1, 3, -1, -1) for images in (sr, hr))  # where they are grey
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result: Tensor = model(sr) if model.metric_mode == "NR" else model(sr, hr)
        return result.flatten()

    height, width = sides(size)
    probe = torch.linspace(0, 1, 2 * 3 * height * width, device=device)
    probe = probe.view(2, 3, height, width)
    try:
        with torch.no_grad():
            values = measure(probe, 1 - probe)
    except Exception as error:
        raise InputError(
            f"eval.metrics: {name} does not work with {height}x{width} images ({_short(error)}): "
            "leave it out"
        ) from error
    if len(values) != 2:
        raise InputError(f"eval.metrics: {name} does not measure single images: leave it out")
    return ImageMetric(name, not model.lower_better, measure)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text[:120] + "...") if len(text) > 120 else text or type(error).__name__
