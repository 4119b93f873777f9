"""Where a run's model comes from: `--init`, and DDNM's prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from running import load_run, run, run_loaded

from cl_sr.config import resolve
from cl_sr.degradations import AveragePool
from cl_sr.diffusion import NoiseSchedule, Parametrization, Sampling
from cl_sr.errors import InputError
from cl_sr.inference import Restorer
from cl_sr.models import Model, SR3UNet, load_sr3, read_model, save_model
from cl_sr.models.guided import GuidedUNet
from cl_sr.models.public import public_buffers
from cl_sr.reporting import build_report
from cl_sr.runs.loading import load
from cl_sr.runs.plan import check

pytestmark = pytest.mark.run
NET: dict[str, Any] = {
    "inner_channel": 8,
    "norm_groups": 8,
    "channel_mults": [1, 2],
    "attn_res": [],
    "res_blocks": 1,
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    net = SR3UNet(**NET, image_size=16)
    model = Model(net, NoiseSchedule.linear(40, 1e-3, 0.2), Parametrization("x0"), scale=4)
    save_model(tmp_path / "own", model)
    return tmp_path / "own"


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = GuidedUNet(model_channels=32, channel_mult=(1, 1), num_res_blocks=1, num_head_channels=32)
    torch.save(net.state_dict(), tmp_path / "prior.pt")
    return tmp_path / "prior.pt"


def test_a_run_starts_from_the_weights_with_their_architecture_and_schedule(
    tmp_path: Path, tiny: list[str], own: Path
) -> None:
    made = load_run([*tiny, f"init={own}"])
    assert isinstance(made.model.net, SR3UNet)
    ours = load_sr3(own)
    assert torch.equal(made.model.net.downs[0].weight, ours.downs[0].weight)  # type: ignore[arg-type]
    assert made.model.schedule.steps == 40
    assert made.model.parametrization == Parametrization("x0")
    folder = run(tmp_path / "run", [*tiny, f"init={own}"])
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    assert config["model"]["channel_mults"] == [1, 2]
    assert config["diffusion"]["schedule"] == "init"
    assert (config["diffusion"]["steps"], config["diffusion"]["prediction"]) == (40, "x0")
    again = run_loaded(tmp_path / "2", load(check(resolve(config))))
    name = "checkpoints/animef/model.safetensors"
    assert (folder.path / name).read_bytes() == (again.path / name).read_bytes()
    assert read_model(folder.path / "checkpoints" / "animef").schedule.steps == 40


def test_public_weights_start_a_run(tmp_path: Path, tiny: list[str]) -> None:
    net, schedule = SR3UNet(**NET | {"norm_groups": 4}, image_size=16), NoiseSchedule.linear(30)
    state = {f"denoise_fn.{name}": tensor for name, tensor in net.state_dict().items()}
    state |= {name: t.float() for name, t in public_buffers(schedule).items()}
    torch.save(state, tmp_path / "I1_gen.pth")
    model = load_run([*tiny, f"init={tmp_path / 'I1_gen.pth'}"]).model
    assert isinstance(model.net, SR3UNet)
    assert model.net.config["norm_groups"] == 4  # of the configuration: the file does not tell
    assert model.parametrization == Parametrization("epsilon", "image")
    assert model.schedule.steps == 30


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.size=32"], "trained at 16 pixels.*set data.size=16"),
        (["data.scale=2"], "trained for scale 4.*set data.scale=4"),
        (["init=absent.pth"], "no weights here"),
        (["eval.steps=41"], "eval.steps=41 is more than the 40"),
        (["strategy=ddnm"], "not by --init"),
        (["strategy=timestep-window:stop=41"], "not within 0..40"),
    ],
)
def test_weights_that_contradict_the_run(
    tiny: list[str], own: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_run([*tiny, f"init={own}", *changes])


def test_a_prior_is_not_a_start(tmp_path: Path, tiny: list[str]) -> None:
    net = SR3UNet(**NET, in_channel=3, image_size=16)
    save_model(tmp_path / "p", Model(net, NoiseSchedule.linear(), conditional=False))
    with pytest.raises(InputError, match="--strategy ddnm:prior"):
        load_run([*tiny, f"init={tmp_path / 'p'}"])


def test_the_schedule_of_weights_needs_weights(tiny: list[str]) -> None:
    with pytest.raises(InputError, match="init=FILE"):
        load_run([*tiny, "diffusion.schedule=init"])


def test_ddnm_with_a_prior_of_ones_own(tmp_path: Path, tiny: list[str], prior: Path) -> None:
    folder = run(tmp_path / "run", [*tiny, f"strategy=ddnm:prior={prior},steps=3"])
    found = folder.metrics
    assert [(r["trained_on"], r["domain"]) for r in found] == [
        ("init", d) for d in ("celeba", "animef")
    ]
    assert {(r["sampler"], r["steps"]) for r in found} == {("ddnm", 3)}
    plain = run(tmp_path / "plain", [*tiny, "train.iterations=[1, 1]"])
    # The same test images and degradation: the same bicubic row.
    assert folder.matrices[0].rows["bicubic"] == plain.matrices[0].rows["bicubic"]
    text = build_report(folder).markdown([], "cl-sr run")
    assert "| zero-shot |" in text
    assert "sampler ddnm, 3 steps" in text
    assert not (folder.path / "checkpoints").exists()
    assert (folder.path / "samples" / "celeba" / "after-init.png").is_file()


def test_ddnm_trains_a_prior_on_the_first_domain(tmp_path: Path, tiny: list[str]) -> None:
    folder = run(tmp_path / "run", [*tiny, "strategy=ddnm:iterations=5,steps=2", "eval.every=0"])
    assert folder.matrices[0].learnt == ["celeba"]
    assert folder.metrics[-1]["iteration"] == 5
    trained = read_model(folder.path / "checkpoints" / "celeba")
    assert trained.architecture["in_channel"] == 3
    assert not trained.conditional
    assert trained.parametrization == Parametrization("v", "image")
    # What it trained serves as a prior elsewhere, and gives the same figures.
    again = run(
        tmp_path / "again",
        [*tiny, f"strategy=ddnm:prior={folder.path / 'checkpoints' / 'celeba'},steps=2"],
    )
    one, two = (f.matrices[0].rows for f in (folder, again))
    assert one["celeba"] == pytest.approx(two["init"], abs=1e-4)


def test_a_trained_prior_is_where_the_images_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that is not there: fake tensors refuse to meet those of another device."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    def one_step(prior: Any, lr: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        noise: torch.Tensor = prior(lr.repeat(1, 1, 4, 4), torch.full((2,), 3, device=lr.device))
        return noise

    monkeypatch.setattr("cl_sr.inference.restorer.ddnm", one_step)
    small: Any = {"inner_channel": 8, "norm_groups": 4, "channel_mults": (1, 1), "res_blocks": 1}
    schedule = NoiseSchedule.linear(100)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            net = SR3UNet(in_channel=3, attn_res=(8,), image_size=16, **small)
            lr = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
        model = Model(net, schedule, Parametrization("v"), conditional=False)
        restorer = Restorer(model, AveragePool(4), Sampling("ddnm", 3))
        assert restorer.restore(lr, [0, 1]).device.type == "cuda"


def test_ddnm_restores_to_what_the_degradation_makes_the_low_resolution_image_of(
    tiny: list[str], prior: Path
) -> None:
    """With the kernel `area`, whose operator is exact: averaging the result gives the image."""
    loaded = load_run([*tiny, f"strategy=ddnm:prior={prior},steps=2", "data.kernel=area"])
    restorer = Restorer(loaded.model, loaded.degradation, loaded.plan.sampling)
    low = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    images = restorer.restore(low, [1, 2])
    found = torch.nn.functional.avg_pool2d(images, 4)
    assert torch.allclose(found, low / 127.5 - 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("prior=absent.pt", "no file .*absent.pt"),
        ("steps=1001,prior={prior}", r"steps=1001 must be in 1\.\.1000"),
        ("eta=2", "eta=2.0 must be in"),
        ("travel_length=0", "at least 1"),
        ("iterations=-1", "not be negative"),
        ("arguments=heads=2,prior={prior}", "no argument 'heads'"),
    ],
)
def test_ddnm_refuses(tiny: list[str], prior: Path, options: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_run([*tiny, f"strategy=ddnm:{options.format(prior=prior)}"])


def test_a_prior_that_the_image_size_does_not_fit(tmp_path: Path, tiny: list[str]) -> None:
    net = GuidedUNet(
        model_channels=32, channel_mult=(1,) * 6, num_res_blocks=1, num_head_channels=32
    )
    torch.save(net.state_dict(), tmp_path / "deep.pt")
    with pytest.raises(InputError, match=r"multiples of 32, and data\.size=16"):
        load_run([*tiny, f"strategy=ddnm:prior={tmp_path / 'deep.pt'}"])
