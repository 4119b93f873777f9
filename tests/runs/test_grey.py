"""Nets of one channel: grey images, from the data to the report, and every message about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import TINY
from PIL import Image
from running import Cut, load_run, plan_of, results, run
from torch import Tensor, nn

import cl_sr
from cl_sr.cli.main import main
from cl_sr.data.domains import CELEBA
from cl_sr.data.prepare import load_domain
from cl_sr.degradations import Bicubic
from cl_sr.degradations.pixels import to_floats
from cl_sr.errors import InputError
from cl_sr.evaluation import psnr
from cl_sr.models import Model, SR3UNet, load_prior, load_sr3, save_model, sr3_prior
from cl_sr.models.model import image_channels
from cl_sr.reporting import build_report, publish_run
from cl_sr.runs.images import test_samples as run_samples

pytestmark = pytest.mark.run
GREY = [*TINY, "data.channels=1", "stream=celeba-anime-df2k", "train.iterations=2"]
NET: dict[str, Any] = {
    "inner_channel": 8, "norm_groups": 4, "channel_mults": [1, 1], "attn_res": [8],
    "res_blocks": 1, "image_size": 16,
}  # fmt: skip


def checkpoint(path: Path, takes: int, gives: int) -> Path:
    """A file as the public SR3 code's, without its schedule."""
    torch.manual_seed(0)
    net = SR3UNet(in_channel=takes, out_channel=gives, **NET)
    torch.save({f"denoise_fn.{name}": t for name, t in net.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    "strategy",
    [
        "router:rank=2+replay:size=4",
        "generative-distill:size=4+wise-ft:held_out=4",
        "ddnm:iterations=2,steps=2",
    ],
)
def test_it_is_trained_evaluated_reported_loaded_and_resumed(tmp_path: Path, strategy: str) -> None:
    settings = [*GREY, f"strategy={strategy}", "checkpoint.every=1"]
    record = run(tmp_path / "run", settings)
    restorer = cl_sr.load(record.path)
    prior = strategy.startswith("ddnm")
    assert restorer.model.architecture["in_channel"] == (1 if prior else 2)
    assert restorer.model.architecture["out_channel"] == image_channels(restorer.model) == 1
    for domain in record.domains:
        samples = run_samples(record, domain, 3, Bicubic(4))
        assert samples.lr.shape == (3, 1, 4, 4)
        assert samples.hr.shape == (3, 1, 16, 16)
        images = restorer.restore(samples.lr, [0, 1, 2])
        again = psnr((images + 1) / 2, (to_floats(samples.hr) + 1) / 2)
        after = record.matrices[0].learnt[-1]
        assert again.tolist() == pytest.approx(record.images[after, domain]["psnr"], abs=1e-4)
    publish_run(build_report(record))
    assert "grey" in (record.path / "report.md").read_text(encoding="utf-8")
    with Image.open(record.path / "samples" / "celeba" / "hr.png") as strip:
        assert (strip.mode, strip.size) == ("L", (2 * 16, 16))
    with pytest.raises(SystemExit):
        run(tmp_path / "cut", settings, plugins=[Cut("before_training_iteration", 1)])
    run(tmp_path / "cut", settings, resume=True)
    assert results(tmp_path / "cut") == results(record.path)


def test_images_are_made_grey_as_pillow_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(6):
        pixels = random.integers(0, 256, (20, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    kept, bare = (
        load_domain(CELEBA, tmp_path, size=16, scale=4, channels=1, memory_gb=gigabytes)
        for gigabytes in (8.0, 0.0)
    )
    assert np.array_equal(kept.test, bare.test)
    assert kept.test.shape[1:] == (1, 16, 16)
    for file, image in zip(kept.test_files, kept.test, strict=True):
        with Image.open(file.path) as picture:
            assert np.array_equal(image[0], np.asarray(picture.convert("L"))[2:-2])


def test_pictures_come_out_grey(tmp_path: Path) -> None:
    run(tmp_path / "run", [*GREY, "eval.images=0"])
    restorer = cl_sr.load(tmp_path / "run")
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8))
    grey = restorer.upscale(colours, tile=0)
    assert (grey.mode, grey.size) == ("L", (20, 24))
    assert grey.tobytes() == restorer.upscale(colours.convert("L"), tile=0).tobytes()
    assert restorer(torch.rand(2, 1, 4, 4)).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match=r"floats \(B, 1, h, w\)"):
        restorer(torch.rand(2, 3, 4, 4))
    colours.putalpha(colours.convert("L"))
    assert restorer.upscale(colours, tile=0).mode == "LA"


@pytest.mark.parametrize(
    ("takes", "gives", "settings", "message"),
    [
        (2, 1, [], r"is for grey images \(2 channels in, 1 out\).*set data.channels=1"),
        (6, 3, ["data.channels=1"], r"is for colour images \(6 channels in.*set data.channels=3"),
        (1, 1, ["data.channels=1"], r"unconditional network of grey images .*ddnm:prior=FILE"),
        (3, 3, [], r"unconditional network of colour images .*ddnm:prior=FILE"),
        (4, 1, [], "takes 4 channels and gives 1: SR3's net takes 6 and gives 3, for grey"),
        (8, 4, [], "takes 8 channels and gives 4"),
    ],
)
def test_a_start_that_does_not_fit_is_told_what_it_is(
    tmp_path: Path, takes: int, gives: int, settings: list[str], message: str
) -> None:
    path = checkpoint(tmp_path / "I1_gen.pth", takes, gives)
    with pytest.raises(InputError, match=message):
        load_run([*TINY, *settings, f"init={path}"])


def test_what_a_checkpoint_of_ours_is_for_is_told_before_it_is_read(tmp_path: Path) -> None:
    net = SR3UNet(in_channel=2, out_channel=1, **NET)
    save_model(tmp_path / "own", Model(net, load_run(TINY).model.schedule))
    with pytest.raises(InputError, match=r"grey images.*set data.channels=1"):
        plan_of([*TINY, f"init={tmp_path / 'own'}"])
    plan_of([*TINY, f"init={tmp_path / 'own'}", "data.channels=1"])


def test_the_public_code_s_grey_checkpoints_start_a_run_and_are_priors(tmp_path: Path) -> None:
    grey = checkpoint(tmp_path / "I1_gen.pth", 2, 1)
    model = load_run([*TINY, "data.channels=1", "model.norm_groups=4", f"init={grey}"]).model
    assert model.conditional
    net = load_sr3(grey, norm_groups=4, image_size=16)
    assert (net.config["in_channel"], net.config["out_channel"]) == (2, 1)
    with pytest.raises(InputError, match=r"conditional \(it takes 2 channels and gives 1\)"):
        load_prior(grey, norm_groups=4)
    path = checkpoint(tmp_path / "prior_gen.pth", 1, 1)
    prior = load_prior(path, norm_groups=4, image_size=16)
    assert prior.channels == 1
    assert prior(torch.rand(2, 1, 16, 16), torch.tensor(5)).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="images of 1 channels, not 3"):
        prior(torch.rand(2, 3, 16, 16), torch.tensor(5))
    ddnm = f"strategy=ddnm:prior={path},arguments=norm_groups=4,steps=2"
    record = run(tmp_path / "run", [*TINY, "data.channels=1", ddnm])
    assert record.matrices[0].rows["init"]
    with pytest.raises(InputError, match=r"images of 1 channel.*set data.channels=1"):
        load_run([*TINY, ddnm])


def test_zero_shot_restores_grey_pictures(tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "prior_gen.pth", 1, 1)
    small = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    small.save(tmp_path / "small.png")
    told = CliRunner().invoke(
        main,
        ["zero-shot", "-i", str(tmp_path / "small.png"), "--prior", str(path), "--scale", "4",
         "--steps", "2", "-o", str(tmp_path / "out"), "norm_groups=4"],
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    with Image.open(tmp_path / "out" / "small.png") as image:
        assert (image.mode, image.size) == ("L", (16, 16))


def test_a_family_that_knows_no_grey_images_says_so(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from cl_sr.models.family import Family, ModelKeys\n"
        "family = Family('mine', ModelKeys, lambda keys, image_size, conditional: {}, dict)\n"
    )
    plain = [item for item in TINY if not item.startswith("model.")]
    with pytest.raises(InputError, match=r"the family mine makes none for data\.channels=1"):
        plan_of([*plain, "data.channels=1", f"model.family={tmp_path / 'mine.py'}"])


def test_colours_are_as_they_were() -> None:
    """The same net and the same weights as without the key."""
    plain, three = (load_run([*TINY, *more]).model for more in ([], ["data.channels=3"]))
    assert plain.architecture == three.architecture
    assert plain.architecture["in_channel"] == 6
    for one, other in zip(plain.net.parameters(), three.net.parameters(), strict=True):
        assert torch.equal(one, other)


class Same(nn.Module):
    """Answers the input, so that learned variance shows."""

    def forward(self, noisy: Tensor, _: Tensor) -> Tensor:
        return torch.cat([noisy, 2 * noisy], dim=1)


def test_a_grey_prior_that_learns_its_variance_answers_the_noise() -> None:
    net = SR3UNet(in_channel=1, out_channel=1, **NET)
    model = Model(net, load_run(TINY).model.schedule, conditional=False)
    prior = sr3_prior(model)
    prior.net = Same()
    noisy = torch.rand(1, 1, 4, 4)
    assert torch.equal(prior(noisy, torch.tensor(3)), noisy)


def test_the_configuration_repeats_it(tmp_path: Path) -> None:
    record = run(tmp_path / "run", [*GREY, "eval.images=0"])
    assert yaml.safe_load((record.path / "config.yaml").read_text())["data"]["channels"] == 1
