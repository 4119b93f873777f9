"""Pictures of any size, by tiles that are drawn jointly."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_bytes
from cl_sr.diffusion import NoiseSchedule, Parametrization, Sampling
from cl_sr.inference import Restorer
from cl_sr.inference.tiles import Tiles, reflected
from cl_sr.models import Model, SR3UNet
from cl_sr.strategies import Experts


class Pointwise(nn.Module):
    """Each pixel is answered for by itself: tiles must make no difference."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.4))

    def forward(self, noisy: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        return torch.tanh(self.scale * noisy + 0.3 * condition) * level[:, None, None, None]


class Offset(nn.Module):
    """Answers with an image that is brighter or darker as a whole, by all that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, noisy: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        return self.scale * condition + 5 * noisy.mean(dim=(1, 2, 3), keepdim=True)


def restorer(net: nn.Module, size: int = 32, **options: Any) -> Restorer:
    model = Model(
        net,
        NoiseSchedule.linear(40, 1e-3, 0.2),
        Parametrization("x0", "image")
        if isinstance(net, Offset)
        else Parametrization("v", "residual"),
        scale=4,
        architecture={"image_size": size, "channel_mults": [1, 2]},
    )
    return Restorer(model, Bicubic(4), Sampling("ddim", 4), **options)


def unet() -> SR3UNet:
    torch.manual_seed(0)
    return SR3UNet(
        inner_channel=8, norm_groups=4, channel_mults=(1, 2), attn_res=(), image_size=32
    ).eval()


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth, with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = pixels + rng.integers(-6, 7, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def floats(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.float64)


@given(st.integers(1, 40), st.integers(0, 20), st.integers(1, 300))
def test_tiles_cover_all_and_share_what_was_asked_for(side: int, overlap: int, length: int) -> None:
    overlap = min(overlap, side // 2)
    starts = Tiles(side, side, overlap).starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - side)
    assert all(0 < b - a <= side - overlap for a, b in pairwise(starts))
    assert (len(starts) - 1) * (side - overlap) < max(1, length - side) + side - overlap


def test_weights_are_smooth_and_never_nothing() -> None:
    line = Tiles(8, 8, 2).line(30, 8, fine=4)
    assert float(line.min()) > 0
    assert float(line.max()) == pytest.approx(1)
    assert torch.equal(line, line.flip(0))
    assert torch.equal(line[8:24], torch.ones(16))
    assert float(line.diff().abs().max()) < 0.2
    assert torch.equal(Tiles(8, 8, 2).line(8, 8, fine=4), torch.ones(32))  # nothing to blend


def test_weights_of_all_tiles() -> None:
    tiles = Tiles(6, 6, 2)
    total = torch.zeros(17 * 3)
    for start in tiles.starts(17, 6):
        total[start * 3 : start * 3 + 18] += tiles.line(17, 6, 3)
    assert torch.equal(tiles.total(17, 6, 3), total)
    assert float(total.min()) > 0


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 21), (30, 8), (19, 33)])
@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_net_that_sees_a_pixel_alone_gives_the_same(height: int, width: int, batch: int) -> None:
    made = restorer(Pointwise(), batch=batch)
    image = picture(width, height)
    whole = made.upscale(image, tile=0, seed=3)
    tiled = made.upscale(image, seed=3)
    assert tiled.size == (4 * width, 4 * height)
    assert np.abs(floats(whole) - floats(tiled)).max() <= 1  # of 255: sums in another order


def test_a_picture_of_the_size_that_was_trained_is_restored_as_in_evaluation() -> None:
    made, image = restorer(unet()), picture(8, 8)
    lr = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = to_bytes(made.restore(lr, [5]))[0].permute(1, 2, 0).numpy()
    for tile in (None, 0, 8):
        assert np.array_equal(np.asarray(made.upscale(image, tile=tile, seed=5)), expected)
    assert not np.array_equal(np.asarray(made.upscale(image, seed=6)), expected)


def steps_across(image: Image.Image, places: list[int]) -> float:
    """The mean step from one column to the next at these places, over that elsewhere."""
    steps = np.abs(np.diff(floats(image), axis=1)).mean(axis=(0, 2))
    there = np.isin(np.arange(len(steps)), [4 * x - 1 for x in places])
    return float(steps[there].mean() / steps[~there].mean())


@pytest.mark.parametrize("net", [unet(), Offset()], ids=["unet", "offset"])
def test_there_is_no_seam(net: nn.Module) -> None:
    """Nor is it by chance: the same tiles side by side, each with its own noise, have one."""
    made, image = restorer(net), picture(64, 16)
    jointly = made.upscale(image, overlap=4, steps=8)
    starts = Tiles(8, 8, 4).starts(64, 8)
    borders = sorted({x for start in starts for x in (start, start + 8)} - {0, 64})
    assert steps_across(jointly, borders) < 1.1
    if not isinstance(net, Offset):  # of random weights, whose images are as rough everywhere
        return
    apart = Image.new("RGB", (256, 64))
    for number, x in enumerate(range(0, 64, 8)):
        for y in (0, 8):
            part = made.upscale(image.crop((x, y, x + 8, y + 8)), steps=8, seed=number)
            apart.paste(part, (4 * x, 4 * y))
    assert steps_across(apart, list(range(8, 64, 8))) > 1.5


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (3, 5), (7, 9), (23, 2)])
@pytest.mark.parametrize("tile", [None, 0])
def test_any_size_and_shape(height: int, width: int, tile: int | None) -> None:
    image = restorer(unet()).upscale(picture(width, height), tile=tile)
    assert image.size == (4 * width, 4 * height)


def test_the_border_is_reflected() -> None:
    row = torch.arange(4).view(1, 1, 4)
    assert reflected(row, 1, 9)[0, 0].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert reflected(row, 1, 4) is not None
    assert reflected(row[..., :1], 2, 3).tolist() == [[[0, 0, 0], [0, 0, 0]]]


class Twice(Experts):
    """The brighter images are answered for with the opposite sign."""

    def route(self, lr: Tensor) -> Tensor:
        return (lr.mean(dim=(1, 2, 3)) > 0).long()

    def weights(self, number: int) -> dict[str, Tensor] | None:
        return {"scale": torch.tensor(-0.4)} if number else None


def test_an_expert_is_chosen_for_the_whole_or_for_each_tile() -> None:
    dark, bright = Image.new("RGB", (16, 8), (20, 20, 20)), Image.new("RGB", (8, 8), "white")
    half = dark.copy()
    half.paste(bright, (8, 0))
    made, plain = restorer(Pointwise(), experts=Twice()), restorer(Pointwise())
    both, whole = (made.upscale(half, overlap=0, by_tile=each) for each in (True, False))
    old = plain.upscale(half, overlap=0)
    left, right = (0, 0, 32, 32), (32, 0, 64, 32)
    assert np.array_equal(np.asarray(both.crop(left)), np.asarray(old.crop(left)))
    assert not np.array_equal(np.asarray(both.crop(right)), np.asarray(old.crop(right)))
    assert not np.array_equal(np.asarray(whole.crop(left)), np.asarray(both.crop(left)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 3}, None),
        ({"tile": -4}, "tile=-4"),
        ({"tile": 8, "overlap": 5}, "at most half"),
        ({"overlap": -1}, "share -1"),
        ({"steps": 0}, "steps"),
        ({"sampler": "ddnm"}, "this model is shown the input: use ddim"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str | None) -> None:
    made = restorer(unet())
    if message is None:  # scale 4 over a net that halves once: any number of pixels
        assert made.upscale(picture(9, 9), **options).size == (36, 36)
        return
    with pytest.raises(ValueError, match=message):
        made.upscale(picture(9, 9), **options)


def test_a_net_that_halves_often_takes_some_sizes_only() -> None:
    made = restorer(unet())
    object.__setattr__(made.model, "architecture", {"channel_mults": [1] * 5})
    with pytest.raises(ValueError, match="tile=6: this net takes multiples of 4 pixels"):
        made.upscale(picture(9, 9), tile=6)


# What of a picture no net sees


def test_grey_stays_grey_and_transparency_is_enlarged() -> None:
    made, grey = restorer(unet()), picture(9, 7).convert("L")
    assert made.upscale(grey).mode == "L"
    assert made.upscale(grey.convert("1")).mode == "L"
    alpha = Image.linear_gradient("L").resize((9, 7))
    for mode, image in (("RGBA", picture(9, 7)), ("LA", grey)):
        image.putalpha(alpha)
        large = made.upscale(image)
        assert (large.mode, large.size) == (mode, (36, 28))
        expected = alpha.resize((36, 28), Image.Resampling.BICUBIC)
        assert np.array_equal(np.asarray(large.getchannel("A")), np.asarray(expected))
        plain = made.upscale(image.convert(mode[:-1]))
        assert np.array_equal(np.asarray(large.convert(mode[:-1])), np.asarray(plain))


def test_a_palette_and_its_transparent_colour() -> None:
    made = restorer(unet())
    image = picture(9, 7).convert("P")
    large = made.upscale(image)
    assert np.array_equal(np.asarray(large), np.asarray(made.upscale(image.convert("RGB"))))
    image.info["transparency"] = 0
    assert made.upscale(image).mode == "RGBA"


def test_orientation_profile_and_other_colours() -> None:
    made, image = restorer(unet()), picture(9, 5)
    image.info["icc_profile"] = b"a profile"
    upright = made.upscale(image)
    assert upright.info["icc_profile"] == b"a profile"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned = image.copy()
    turned.info["exif"] = exif.tobytes()
    assert made.upscale(turned).size == (20, 36)
    print_colours = image.convert("CMYK")
    print_colours.info["icc_profile"] = b"of inks"
    large = made.upscale(print_colours)
    assert large.mode == "RGB"
    assert "icc_profile" not in large.info  # it is of other colours


def test_16_bits_become_8() -> None:
    made = restorer(unet())
    values = np.linspace(0, 65535, 63).round().reshape(7, 9)
    eight = Image.fromarray((values / 65535 * 255).round().astype(np.uint8))
    expected = np.asarray(made.upscale(eight))
    wide = Image.fromarray(values.astype(np.uint16))
    assert wide.mode.startswith("I")
    assert np.array_equal(np.asarray(made.upscale(wide)), expected)
    assert np.array_equal(
        np.asarray(made.upscale(Image.fromarray(values.astype(np.int32)))), expected
    )
    of_floats = Image.fromarray((values / 65535).astype(np.float32))
    assert np.array_equal(np.asarray(made.upscale(of_floats)), expected)
