"""Images are restored from a run's folder as they were in its evaluations, to the bit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from running import run
from torch import Tensor, nn

import cl_sr
from cl_sr.data.samples import Samples
from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import NoiseSchedule, Sampling
from cl_sr.errors import InputError
from cl_sr.evaluation.metrics import build_metrics
from cl_sr.inference import Restorer
from cl_sr.models import Model
from cl_sr.runs.images import test_samples as run_samples
from cl_sr.runs.record import Record
from cl_sr.strategies import Experts

pytestmark = pytest.mark.run
STRATEGIES = [
    "finetune",
    "router:rank=2",
    "window-experts:stop=1500",
    "lora:rank=2",
    "replay:size=4+wise-ft:held_out=4",
    "ddnm:iterations=3,steps=3",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Record]:
    """The run of a strategy over three domains, made once. Batches of two are evaluated."""
    runs: dict[str, Record] = {}

    def make(strategy: str) -> Record:
        if strategy not in runs:
            path = tmp_path_factory.mktemp("trained") / "run"
            more = ["stream=celeba-anime-df2k", "train.iterations=3", "eval.batch_size=2"]
            runs[strategy] = run(path, [*TINY, *more, f"strategy={strategy}"])
        return runs[strategy]

    return make


def samples_of(record: Record, domain: str) -> Samples:
    return run_samples(record, domain, 3, Bicubic(4))


def psnr_of(images: Tensor, hr: Tensor) -> list[float]:
    (metric, *_) = build_metrics(["psnr", "ssim"], "rgb8", 16, torch.device("cpu"))
    return metric.of(images, to_floats(hr))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_is_loaded_restores_as_its_evaluations_did(
    trained: Callable[[str], Record], strategy: str
) -> None:
    """With its experts, its moving average and its way of sampling, after every domain."""
    record = trained(strategy)
    for after in record.matrices[0].learnt:
        restorer = cl_sr.load(record.path, after)
        assert restorer.domains[-1] == after
        for domain in record.domains:
            samples = samples_of(record, domain)
            # Two and one, as they were evaluated: the size of a batch moves last digits.
            parts = [
                restorer.restore(samples.lr[rows], seeds)
                for rows, seeds in ((slice(0, 2), [0, 1]), (slice(2, 3), [2]))
            ]
            assert psnr_of(torch.cat(parts), samples.hr) == record.images[after, domain]["psnr"]


@pytest.mark.parametrize("strategy", ["router:rank=2", "window-experts:stop=1500"])
def test_without_its_memory_it_would_restore_otherwise(
    trained: Callable[[str], Record], strategy: str, tmp_path: Path
) -> None:
    """So the test above tells whether the experts are there."""
    record = trained(strategy)
    folder = shutil.copytree(record.path / "checkpoints" / "df2k-ost", tmp_path / "copy")
    lr = samples_of(record, "celeba").lr
    whole = cl_sr.load(folder).restore(lr, [0, 1, 2])
    for name in ("training.safetensors", "training.json"):
        (folder / name).unlink()
    assert not torch.equal(cl_sr.load(folder).restore(lr, [0, 1, 2]), whole)


def test_a_checkpoint_tells_all_of_itself_wherever_it_lies(
    trained: Callable[[str], Record], tmp_path: Path
) -> None:
    record = trained("router:rank=2")
    lr = samples_of(record, "animef").lr
    folder = shutil.copytree(record.path / "checkpoints" / "animef", tmp_path / "elsewhere")
    restorer = cl_sr.load(folder)
    assert restorer.domains == ("celeba", "animef")
    assert (restorer.strategy, restorer.scale) == ("router:rank=2", 4)
    assert restorer.origin.iterations == 6
    assert restorer.sampling == Sampling("ddim", 2)
    assert isinstance(restorer.degradation, Bicubic)
    of_the_run = cl_sr.load(record.path, "animef").restore(lr, [0, 1, 2])
    assert torch.equal(restorer.restore(lr, [0, 1, 2]), of_the_run)


def test_a_router_sends_images_and_tiles_to_the_experts_of_their_domains(
    trained: Callable[[str], Record],
) -> None:
    """Faces, anime and textures in one batch; each is restored as it is by itself."""
    record = trained("router:rank=2")
    restorer = cl_sr.load(record.path)
    lr = torch.cat([samples_of(record, domain).lr for domain in record.domains])
    routed = restorer.route(lr)
    assert routed.tolist() == [int(restorer.route(image[None])) for image in lr]
    assert len(routed.unique()) > 1
    together = restorer.restore(lr, range(9))
    for k in range(9):
        alone = restorer.restore(lr[k : k + 1], [k])
        assert torch.allclose(together[k : k + 1], alone, atol=1e-5)

    # Tiles of larger images, and whole images of other sizes and shapes.
    tiles = torch.cat([lr[0::3], lr[1::3]], dim=3).unfold(3, 4, 2).permute(0, 3, 1, 2, 4)
    assert restorer.restore(tiles.flatten(0, 1), range(9)).shape == (9, 3, 16, 16)
    assert restorer.route(torch.cat([lr, lr], dim=3)).shape == (9,)
    assert restorer.route(torch.cat([lr, lr, lr], dim=2).repeat(1, 1, 1, 3)).shape == (9,)


class Twice(Experts):
    """The brighter images are restored by twice the weights."""

    def route(self, lr: Tensor) -> Tensor:
        return (lr.mean(dim=(1, 2, 3)) > 0).long()

    def weights(self, number: int) -> dict[str, Tensor] | None:
        return {"scale": torch.full((1,), 2.0)} if number else None


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.calls: list[int] = []

    def forward(self, noisy: Tensor, condition: Tensor, level: Tensor) -> Tensor:
        return noisy * self.scale * 0.1


def restorer(**changes: Any) -> Restorer:
    model = Model(Scaled(), NoiseSchedule.linear(20, 1e-3, 0.2), scale=4)
    return Restorer(model, Bicubic(4), Sampling("ddim", 2), **changes)


def test_the_experts_of_a_batch_answer_for_their_images_alone() -> None:
    lr = torch.stack([torch.full((3, 4, 4), v, dtype=torch.uint8) for v in (10, 240, 20, 250)])
    denoise = restorer(experts=Twice()).denoiser(lr)
    noisy = torch.ones(4, 3, 16, 16)
    with torch.no_grad():
        noise = denoise(noisy, None, torch.full((4,), 0.5))
    assert noise[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.1, 0.2])


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_any_number_of_images(count: int) -> None:
    lr = torch.randint(0, 256, (count, 3, 4, 4), dtype=torch.uint8)
    with torch.no_grad():
        images = restorer(batch=3).restore(lr, range(count))
        again = restorer(batch=64).restore(lr, range(count))
    assert images.shape == (count, 3, 16, 16)
    assert torch.equal(images, again)


def test_floats_between_0_and_1_go_in_and_come_out() -> None:
    lr = torch.rand(3, 3, 4, 4)
    with torch.no_grad():
        images = restorer()(lr, seeds=[5, 6, 7])
        expected = restorer().restore((lr * 255).round().to(torch.uint8), [5, 6, 7])
    assert images.dtype == torch.float32
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    assert torch.allclose(images, (expected.clamp(-1, 1) + 1) / 2)


def test_an_image_depends_on_its_seed_and_not_on_the_others() -> None:
    lr = torch.rand(3, 3, 4, 4)
    with torch.no_grad():
        images = restorer()(lr, seeds=[5, 6, 5])
        other = restorer()(lr[[0]], seeds=[5])
        shared = restorer()(lr[[0, 0]], seeds=[5, 6])
    assert torch.equal(images[[0]], other)
    assert not torch.equal(shared[0], shared[1])


def test_sampling_of_one_call() -> None:
    lr = torch.rand(1, 3, 4, 4)
    made = restorer()
    with torch.no_grad():
        assert torch.equal(made(lr), made(lr, sampler="ddim", steps=2))
        assert not torch.equal(made(lr), made(lr, steps=5))
        assert not torch.equal(made(lr), made(lr, sampler="ancestral"))
    assert made.sampling == Sampling("ddim", 2)


@pytest.mark.parametrize(
    ("lr", "options", "message"),
    [
        (torch.zeros(3, 4, 4), {}, r"floats \(B, 3, h, w\)"),
        (torch.zeros(1, 1, 4, 4), {}, r"floats \(B, 3, h, w\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), {}, r"not torch.uint8"),
        (torch.full((1, 3, 4, 4), 255.0), {}, r"in \[0, 1\], not in \[255, 255\]: divide"),
        (torch.linspace(-1, 1, 48).view(1, 3, 4, 4), {}, r"not in \[-1, 1\]"),
        (torch.full((1, 3, 4, 4), float("nan")), {}, "nan"),
        (torch.zeros(1, 3, 4, 4), {"sampler": "ddnm"}, "shown the input: use ddim"),
        (torch.zeros(2, 3, 4, 4), {"seeds": [1]}, "1 seeds for 2 images"),
        (torch.zeros(1, 3, 4, 4), {"sampler": "ddmi"}, "ddmi"),
        (torch.zeros(1, 3, 4, 4), {"steps": 21}, r"in 1\.\.20"),
        (torch.zeros(1, 3, 4, 4), {"eta": 2.0}, "eta=2.0"),
    ],
)
def test_what_cannot_be_restored(lr: Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restorer()(lr, **options)


def as_of_old(folder: Path, **changes: Any) -> None:
    """A checkpoint's config.json as versions until November 2026 wrote it."""
    about = json.loads((folder / "config.json").read_text())
    old = {"kind": "cl-sr SR3UNet", "unet": about["architecture"]}
    old |= {name: about[name] for name in ("diffusion", "scale")}
    (folder / "config.json").write_text(json.dumps(old | changes))


def test_runs_of_old_are_loaded(trained: Callable[[str], Record], tmp_path: Path) -> None:
    """Their checkpoints tell neither strategy nor degradation: the run does."""
    record = trained("router:rank=2")
    lr = samples_of(record, "celeba").lr
    expected = cl_sr.load(record.path).restore(lr, [0, 1, 2])
    path = shutil.copytree(record.path, tmp_path / "old")
    for folder in (path / "checkpoints").iterdir():
        as_of_old(folder)
    restorer = cl_sr.load(path, "df2k-ost")
    assert torch.equal(restorer.restore(lr, [0, 1, 2]), expected)
    assert restorer.domains == ("celeba", "animef", "df2k-ost")
    with pytest.raises(InputError, match="load the run that it is of"):
        cl_sr.load(path / "checkpoints" / "animef")


def test_checkpoints_of_old_are_loaded_or_say_what_they_lack(
    trained: Callable[[str], Record], tmp_path: Path
) -> None:
    record = trained("finetune")
    lr = samples_of(record, "celeba").lr
    expected = cl_sr.load(record.path).restore(lr, [0, 1, 2], Sampling("ddim", 2))
    folder = shutil.copytree(record.path / "checkpoints" / "df2k-ost", tmp_path / "old")
    as_of_old(folder)
    found = cl_sr.load(folder).restore(lr, [0, 1, 2], Sampling("ddim", 2))
    assert torch.equal(found, expected)
    as_of_old_without_scale = json.loads((folder / "config.json").read_text()) | {"scale": None}
    (folder / "config.json").write_text(json.dumps(as_of_old_without_scale))
    with pytest.raises(InputError, match="does not tell the scale"):
        cl_sr.load(folder)


def test_the_last_checkpoint_is_told_by_what_it_learnt_and_not_by_its_date(
    trained: Callable[[str], Record], tmp_path: Path
) -> None:
    """A copy or a download has other dates; and an experience may have no iterations."""
    runs = [trained("router:rank=2").path, tmp_path / "idle"]
    run(runs[1], [*TINY, "train.iterations=[3, 0]"])
    for number, path in enumerate(runs):
        copy = shutil.copytree(path, tmp_path / f"copy-{number}")
        last = cl_sr.load(copy).origin
        for age, folder in enumerate([*sorted((copy / "checkpoints").iterdir()), copy]):
            os.utime(folder, (9 * age, 9 * age))
        assert cl_sr.load(copy).origin == last
        assert last.domains[-1] == ("df2k-ost", "animef")[number]
        for folder in (copy / "checkpoints").iterdir():
            as_of_old(folder)
        assert cl_sr.load(copy).origin == last


def test_a_strategy_that_is_no_longer_there(
    trained: Callable[[str], Record], tmp_path: Path
) -> None:
    folder = shutil.copytree(trained("finetune").path / "checkpoints" / "celeba", tmp_path / "gone")
    about = json.loads((folder / "config.json").read_text())
    about["strategy"] = [str(tmp_path / "mine.py")]
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"gone needs the strategy .* no file .*mine\.py"):
        cl_sr.load(folder)
    assert cl_sr.load(trained("finetune").path / "checkpoints/celeba/model.safetensors").scale == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"batch": -1}, "batch=-1"),
        ({"precision": "fp64"}, "unknown precision 'fp64'"),
        ({"device": "gpu"}, "no gpu device"),
    ],
)
def test_options_that_are_none(
    trained: Callable[[str], Record], options: dict[str, Any], message: str
) -> None:
    for path in (trained("finetune").path, trained("finetune").path / "checkpoints" / "celeba"):
        with pytest.raises(ValueError, match=message):
            cl_sr.load(path, **options)


@pytest.mark.parametrize(
    ("place", "after", "message"),
    [
        ("run", "animfe", "has no checkpoint 'animfe': did you mean 'animef'"),
        ("run/checkpoints/animef", "celeba", "is no run"),
        ("nowhere", None, "neither a run nor a checkpoint: give a run's folder"),
        ("run/checkpoints", None, "neither a run nor a checkpoint"),
    ],
)
def test_what_cannot_be_loaded(
    trained: Callable[[str], Record], place: str, after: str | None, message: str
) -> None:
    path = trained("finetune").path.parent / place
    with pytest.raises(InputError, match=message):
        cl_sr.load(path, after)


def test_a_checkpoint_does_not_name_files_beside_it(
    trained: Callable[[str], Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody sent may not bring code along."""
    folder = shutil.copytree(trained("finetune").path / "checkpoints" / "celeba", tmp_path / "sent")
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    monkeypatch.chdir(tmp_path)
    file = folder / "config.json"
    for change in ({"strategy": ["./evil.py"]}, {"strategy": [{"evil.py:Mine": {}}]}):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(InputError, match="no absolute path"):
            cl_sr.load(folder)
