"""A random degradation: an image that is degraded twice does not give the same twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from running import load_run, results, run_loaded
from torch import Tensor

import cl_sr
from cl_sr.data.samples import TestSamples
from cl_sr.degradations import DEGRADATIONS, Bicubic, Degradation
from cl_sr.degradations.pixels import to_floats
from cl_sr.errors import InputError
from cl_sr.evaluation import psnr
from cl_sr.runs.loading import Loaded

pytestmark = pytest.mark.run
UPSAMPLED = ("bicubic", "animef")


class Noisy(Degradation):
    """Bicubic, and noise of sigma 20."""

    name = "noisy"

    def degrade(self, hr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        low = Bicubic(self.scale).degrade(hr).float()
        noise = torch.randn(low.shape, generator=generator) * 20
        return (low + noise).round().clamp(0, 255).to(torch.uint8)


@pytest.fixture(autouse=True)
def entered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DEGRADATIONS, Noisy.name, Noisy)


def noisy_run(settings: list[str]) -> Loaded:
    return load_run([*settings, "data.kernel=noisy"])


@pytest.mark.parametrize("strategy", ["finetune", "replay:size=4,mix=true", "router:rank=2"])
def test_a_run_on_it_is_repeatable_and_evaluates_the_images_of_its_data_set(
    tmp_path: Path, tiny: list[str], strategy: str
) -> None:
    settings = [*tiny, f"strategy={strategy}"]
    loaded = noisy_run(settings)
    record = run_loaded(tmp_path / "a", loaded)
    samples = TestSamples(loaded.data["animef"].test[:3], 1, Noisy(4)).samples(0, 3)
    upsampled = to_floats(Noisy(4).condition(samples.lr))
    expected = psnr((upsampled + 1) / 2, samples.hr / 255).tolist()
    assert record.images[UPSAMPLED]["psnr"] == pytest.approx(expected, abs=1e-6)
    again = run_loaded(tmp_path / "b", noisy_run(settings))
    assert results(again.path) == results(record.path)
    restorer = cl_sr.load(record.path)
    assert isinstance(restorer.degradation, Noisy)
    sampled = restorer.restore(samples.lr, [0, 1, 2])
    found = psnr((sampled.clamp(-1, 1) + 1) / 2, samples.hr / 255, "rgb8").tolist()
    assert record.images["animef", "animef"]["psnr"] == pytest.approx(found, abs=1e-4)


def test_what_is_drawn_for_evaluations_does_not_move_the_training(
    tmp_path: Path, tiny: list[str]
) -> None:
    """Nor does it differ from one evaluation to the next, with no iteration between them."""
    often = run_loaded(tmp_path / "often", noisy_run([*tiny, "eval.every=1"]))
    never = run_loaded(tmp_path / "never", noisy_run([*tiny, "eval.images=0"]))
    name = "checkpoints/animef/model.safetensors"
    assert (often.path / name).read_bytes() == (never.path / name).read_bytes()
    idle = run_loaded(tmp_path / "idle", noisy_run([*tiny, "train.iterations=[0, 1]"]))
    before, after = (idle.matrices[0].rows[row] for row in ("init", "celeba"))
    assert before == after


def test_ddnm_needs_a_linear_one(tiny: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="noisy is none"):
        run_loaded(tmp_path / "run", noisy_run([*tiny, "strategy=ddnm:steps=2"]))


def test_an_unknown_one(tiny: list[str]) -> None:
    with pytest.raises(InputError, match="unknown degradation 'nosy': did you mean 'noisy'"):
        load_run([*tiny, "data.kernel=nosy"])
