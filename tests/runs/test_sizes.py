"""Images that are not square, from the data to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY
from PIL import Image
from running import Cut, load_run, plan_of, results, run

import cl_sr
from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_floats
from cl_sr.errors import InputError
from cl_sr.evaluation import psnr
from cl_sr.models import read_model
from cl_sr.reporting import build_report, publish_run
from cl_sr.runs.images import test_samples as run_samples

pytestmark = pytest.mark.run
WIDE = [*TINY, "data.size=[16,24]", "stream=celeba-anime-df2k", "train.iterations=2"]


@pytest.mark.parametrize(
    "strategy",
    [
        "router:rank=2+replay:size=4",
        "generative-distill:size=4+wise-ft:held_out=4",
        "ddnm:iterations=2,steps=2",
    ],
)
def test_it_is_trained_evaluated_reported_loaded_and_resumed(tmp_path: Path, strategy: str) -> None:
    settings = [*WIDE, f"strategy={strategy}", "checkpoint.every=1"]
    record = run(tmp_path / "run", settings)
    assert yaml.safe_load((record.path / "config.yaml").read_text())["data"]["size"] == [16, 24]
    restorer = cl_sr.load(record.path)
    for domain in record.domains:
        samples = run_samples(record, domain, 3, Bicubic(4))
        assert samples.lr.shape == (3, 3, 4, 6)
        assert samples.hr.shape == (3, 3, 16, 24)
        images = restorer.restore(samples.lr, [0, 1, 2])
        again = psnr((images + 1) / 2, (to_floats(samples.hr) + 1) / 2)
        after = record.matrices[0].learnt[-1]
        assert again.tolist() == pytest.approx(record.images[after, domain]["psnr"], abs=1e-4)
    report = build_report(record)
    publish_run(report)
    assert "(4x6 to 16x24 px)" in report.protocol
    page = (record.path / "report.html").read_text(encoding="utf-8")
    assert 'data-width="24" data-height="16"' in page
    with Image.open(record.path / "samples" / "celeba" / "hr.png") as strip:
        assert strip.size == (2 * 24, 16)
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", settings, plugins=[Cut("before_training_iteration", 1)])
    run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(record.path)


def test_real_images_of_any_shape_and_a_start_from_what_was_learnt(
    tmp_path: Path, image_folder: object
) -> None:
    for name, size in (("celeba", (20, 40)), ("animef", (50, 30)), ("df2k-ost", (30, 40))):
        assert callable(image_folder)
        image_folder(name, 8, size=size)
    settings = [item for item in WIDE if "standin" not in item] + [f"data.root={tmp_path}"]
    record = run(tmp_path / "run", settings)
    assert record.environment["data"]["celeba"]["unreadable"] == 0
    checkpoint = record.path / "checkpoints" / "celeba"
    description = json.loads((checkpoint / "config.json").read_text())
    assert description["architecture"]["image_size"] == [16, 24]
    model = load_run([*settings, f"init={checkpoint}"]).model
    for name, weight in read_model(checkpoint).net.state_dict().items():
        assert torch.equal(model.net.state_dict()[name], weight)
    for other in ("24", "[24,16]"):
        with pytest.raises(InputError, match=r"at \[16,24\] pixels.*set data.size=\[16,24\]"):
            plan_of([*settings, f"init={checkpoint}", f"data.size={other}"])


def test_two_equal_sides_are_one_number(tmp_path: Path) -> None:
    settings = [*TINY, "eval.every=0", "train.iterations=1"]
    pair = run(tmp_path / "pair", [*settings, "data.size=[16,16]"])
    assert results(pair.path) == results(run(tmp_path / "one", settings).path)
    assert "\n  size: 16\n" in (pair.path / "config.yaml").read_text()


def test_public_weights_start_a_run_at_any_shape(tmp_path: Path) -> None:
    net = load_run(WIDE).model.net
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    model = load_run([*WIDE, f"init={tmp_path / 'bare.pth'}"]).model
    assert model.architecture["image_size"] == [16, 24]
    assert model.architecture["attn_res"] == [8]
    noisy = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 16, 24))).float()
    level = torch.tensor([0.5])
    with torch.no_grad():
        assert torch.equal(model.net.eval()(noisy, noisy, level), net.eval()(noisy, noisy, level))
