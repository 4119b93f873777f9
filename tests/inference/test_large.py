"""Pictures that are drawn in blocks, in files: as if they were in memory at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cl_sr.degradations import AveragePool, Bicubic, Degradation
from cl_sr.degradations.pixels import to_bytes, to_floats
from cl_sr.diffusion import SAMPLERS, NoiseSchedule, Parametrization, Sampling, sample
from cl_sr.errors import InputError
from cl_sr.inference import Request, Restorer
from cl_sr.inference.fields import BlockNoise, Fields, blocks
from cl_sr.models import Model, Prior
from cl_sr.strategies import Experts
from cl_sr.zero_shot import ddnm

SCHEDULE = NoiseSchedule.linear(40, 1e-3, 0.2)
CPU = torch.device("cpu")


class Pointwise(nn.Module):
    """Each pixel is answered for by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.4))

    def forward(self, noisy: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        return torch.tanh(self.scale * noisy + 0.3 * condition) * level[:, None, None, None]


class Towards(nn.Module):
    """Knows the clean image, but for its brightness: 0.3 everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        level = SCHEDULE.gammas[timestep + 1].sqrt().to(noisy)[:, None, None, None]
        return (noisy - level * 0.3) / (1 - level.square()).sqrt() + 0.02 * noisy.sin()


def restorer(degradation: Degradation | None = None, **options: Any) -> Restorer:
    model = Model(
        Pointwise(),
        SCHEDULE,
        Parametrization("v", "residual"),
        scale=4,
        architecture={"image_size": 32, "channel_mults": [1, 2]},
    )
    return Restorer(model, degradation or Bicubic(4), Sampling("ddim", 4), **options)


def zero_shot(degradation: Degradation, steps: int = 5, eta: float = 0.85) -> Restorer:
    prior = Prior(Towards(), SCHEDULE, multiple=2)
    model = Model(prior, SCHEDULE, conditional=False, scale=degradation.scale, family="prior")
    return Restorer(model, degradation, Sampling("ddnm", steps, eta))


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 215, (5, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    pixels = pixels + rng.integers(-6, 7, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def low(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 32 pixels, all in files."""
    monkeypatch.setattr("cl_sr.inference.fields.SIDE", 32)
    monkeypatch.setattr("cl_sr.inference.fields.IN_MEMORY", 0)


def noise_of(seed: int, height: int, width: int) -> Tensor:
    """The noise that a picture of so many blocks begins with."""
    noise, field = BlockNoise(seed), torch.zeros(1, 3, height, width)
    for block in blocks(height, width, 4):
        block.of(field).copy_(noise(block, block.of(field)))
    return field


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m", "unipc"])
def test_each_sampler_in_blocks_as_on_the_whole(small_blocks: None, sampler: str) -> None:
    made, image = restorer(), picture(30, 22)
    upscaled = made.upscale(image, tile=0, sampler=sampler, steps=6, seed=5)
    condition = to_floats(made.degradation.condition(low(image)))
    start = noise_of(5, 88, 120)
    net = made.denoiser(low(image))
    whole = sample(net, condition, SCHEDULE, sampler, 6, start=start)
    assert np.array_equal(np.asarray(upscaled), to_bytes(whole)[0].permute(1, 2, 0).numpy())


def test_blocks_have_noise_of_their_own_and_that_of_the_first_is_a_small_images() -> None:
    field = noise_of(3, 600, 600)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(field[..., :512, :512], torch.randn(1, 3, 512, 512, generator=generator))
    assert abs(float(field.mean())) < 5e-3
    assert float(field.std()) == pytest.approx(1, abs=5e-3)
    assert not torch.equal(field[..., :88, :88], field[..., 512:, 512:])
    assert not torch.equal(field[..., 512:, 512:], noise_of(4, 600, 600)[..., 512:, 512:])


@pytest.mark.parametrize("sampler", list(SAMPLERS))
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_in_files_as_in_memory(monkeypatch: pytest.MonkeyPatch, sampler: str, eta: float) -> None:
    made, image = restorer(), picture(19, 12)
    expected = np.asarray(made.upscale(image, sampler=sampler, eta=eta, steps=5))
    monkeypatch.setattr("cl_sr.inference.fields.IN_MEMORY", 0)
    assert np.array_equal(
        np.asarray(made.upscale(image, sampler=sampler, eta=eta, steps=5)), expected
    )


def test_what_no_net_sees_is_put_together_in_blocks(small_blocks: None) -> None:
    image = picture(30, 22)
    alpha = Image.linear_gradient("L").resize((30, 22))
    image.putalpha(alpha)
    large = restorer().upscale(image.convert("LA"))
    assert (large.mode, large.size) == ("LA", (120, 88))
    expected = alpha.resize((120, 88), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(large.getchannel("A")), np.asarray(expected))


def test_no_file_is_left_and_none_is_seen(tmp_path: Path, small_blocks: None) -> None:
    made = restorer().enlarge(picture(30, 22), Request(folder=tmp_path))
    assert made.pixels.shape == (88, 120, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    fields = Fields(CPU, tmp_path)
    with pytest.raises(InputError, match=r"no room for 1\.0 GiB .* \(No space left on device\)"):
        fields.new((1, 2**28))


# DDNM, and results that fit their input


@pytest.mark.parametrize("degradation", [Bicubic(4), AveragePool(4)], ids=["bicubic", "area"])
def test_a_small_picture_by_ddnm_as_ddnm_itself(degradation: Any) -> None:
    made, image = zero_shot(degradation), picture(10, 8)
    lr = to_floats(low(image))
    expected = ddnm(made.model.net, lr, degradation, 5, 0.85, seeds=[7])  # type: ignore[arg-type]
    assert np.array_equal(
        np.asarray(made.upscale(image, seed=7)), to_bytes(expected)[0].permute(1, 2, 0).numpy()
    )


def test_time_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    made, image = zero_shot(Bicubic(4)), picture(10, 8)
    travel = Sampling("ddnm", 5, 0.85, travel_length=1, travel_repeat=2)
    lr = to_floats(low(image))
    expected = ddnm(made.model.net, lr, Bicubic(4), 5, 0.85, 1, 2, seeds=[7])  # type: ignore[arg-type]
    asked: list[float] = []
    large = made.enlarge(image, Request(seed=7, progress=asked.append), travel)
    assert np.array_equal(large.pixels, to_bytes(expected)[0].permute(1, 2, 0).numpy())
    assert asked[-1] == pytest.approx(1)


def test_a_large_picture_by_ddnm(small_blocks: None) -> None:
    """The pseudo-inverse is taken in blocks with a margin: to within a rounding."""
    made, image = zero_shot(Bicubic(4), eta=0.0), picture(60, 22)
    lr, start = to_floats(low(image)), noise_of(7, 88, 240)
    noises = torch.zeros(5, 1, 3, 88, 240)
    expected = ddnm(made.model.net, lr, Bicubic(4), 5, 0.0, start=start, noises=noises)  # type: ignore[arg-type]
    large = made.enlarge(image, Request(seed=7))
    off = large.pixels.astype(int) - to_bytes(expected)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(off).max() <= 1
    assert np.abs(off).mean() < 1e-3
    assert large.consistency is not None
    assert large.consistency > 60


@pytest.mark.parametrize("size", [(9, 7), (40, 21)])
@pytest.mark.parametrize("degradation", [Bicubic(4), AveragePool(4)], ids=["bicubic", "area"])
def test_a_consistent_result_shrinks_to_its_input(
    degradation: Any, size: tuple[int, int], small_blocks: None
) -> None:
    image = picture(*size)
    made = restorer(degradation)
    plain, large = (
        np.asarray(made.upscale(image, consistent=consistent)) for consistent in (False, True)
    )
    error = [
        np.abs(
            degradation.degrade(low(Image.fromarray(made_)))[0].permute(1, 2, 0).numpy().astype(int)
            - np.asarray(image).astype(int)
        )
        for made_ in (plain, large)
    ]
    assert error[0].mean() > 2
    assert error[1].max() <= 1


def test_what_was_clamped_is_made_to_fit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Black beside white, which a pseudo-inverse alone overshoots."""
    edges = Image.fromarray(np.kron(np.eye(4, dtype=np.uint8) * 255, np.ones((3, 3), np.uint8)))
    request, found = Request(consistent=True), {}
    for refits in (0, 8):
        monkeypatch.setattr("cl_sr.inference.upscaling.REFITS", refits)
        made = restorer().enlarge(edges.convert("RGB"), request)
        found[refits] = made.consistency or 0.0
    assert found[8] > found[0] + 1


def test_a_degradation_without_a_pseudo_inverse() -> None:
    class Random(Degradation):
        name = "random"

    with pytest.raises(InputError, match="random is none: take bicubic or area"):
        restorer(Random(4)).upscale(picture(9, 9), consistent=True)


def test_noise_in_the_input_is_not_fitted() -> None:
    made, image = zero_shot(Bicubic(4)), picture(10, 8)
    exact, noisy = (made.enlarge(image, Request(sigma_y=sigma)) for sigma in (0.0, 0.2))
    assert exact.consistency is not None
    assert noisy.consistency is not None
    assert exact.consistency > noisy.consistency + 10


# Which expert


class ByBrightness(Experts):
    """The brighter images are answered for with the opposite sign."""

    def route(self, lr: Tensor) -> Tensor:
        return (lr.mean(dim=(1, 2, 3)) > 0).long()

    def weights(self, number: int) -> dict[str, Tensor] | None:
        return {"scale": torch.tensor(-0.4)} if number else None


def test_the_user_may_choose_the_expert_and_is_told_which_it_was() -> None:
    made = restorer(experts=ByBrightness())
    dark, bright = (Image.new("RGB", (16, 8), value) for value in ("black", "white"))
    both = Image.new("RGB", (16, 8))
    both.paste(bright.crop((0, 0, 8, 8)), (0, 0))
    assert made.enlarge(dark, Request()).experts == {0: 3}
    assert made.enlarge(bright, Request()).experts == {1: 3}
    assert made.enlarge(both, Request(by_tile=True, overlap=0)).experts == {0: 1, 1: 1}
    chosen = made.enlarge(dark, Request(expert=1))
    assert chosen.experts == {1: 3}
    assert not np.array_equal(chosen.pixels, made.enlarge(dark, Request()).pixels)


def test_large_pictures_are_glanced_at(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    made = restorer(experts=ByBrightness())
    route = ByBrightness.route

    def watched(self: ByBrightness, lr: Tensor) -> Tensor:
        seen.append(tuple(lr.shape))
        return route(self, lr)

    monkeypatch.setattr(ByBrightness, "route", watched)
    monkeypatch.setattr("cl_sr.inference.upscaling.GLANCE", 16)
    half = Image.new("RGB", (67, 35), "white")
    half.paste(Image.new("RGB", (67, 20)), (0, 0))
    assert made.enlarge(half, Request()).experts.keys() == {0}
    assert seen == [(1, 3, 8, 16)]
    made.enlarge(Image.new("RGB", (1000, 3)), Request())
    assert seen[1] == (1, 3, 1, 16)  # a tile high, of which an image is as wide as it is far


def test_math_is_only_done_where_pixels_are_whole() -> None:
    assert math.isclose(sum(b.bottom - b.top for b in blocks(1000, 1, 3)), 1000)
    assert all(b.top % 3 == 0 for b in blocks(1000, 1, 3))
