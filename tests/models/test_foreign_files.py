"""What training code leaves beside weights, around them, or in their place."""

from __future__ import annotations

import argparse
import collections
import gzip
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from public_files import SMALL, public_sr3
from torch import Tensor, nn

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.models import SR3UNet, load_prior, load_sr3, read_model
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet
from cl_sr.models.places import weights_at


@pytest.fixture
def net() -> SR3UNet:
    torch.manual_seed(0)
    return SR3UNet(**SMALL)


@pytest.fixture
def absent() -> Iterator[Callable[..., type]]:
    """Classes of libraries that are there while a file is written, and not when it is read."""
    made: list[str] = []

    def make(name: str, *bases: type, **members: Any) -> type:
        module, _, title = name.rpartition(".")
        parts = module.split(".")
        for k in range(len(parts)):
            parent = ".".join(parts[: k + 1])
            if parent not in sys.modules:
                sys.modules[parent] = types.ModuleType(parent)
                made.append(parent)
        cls = type(title, bases, {"__module__": module, **members})
        setattr(sys.modules[module], title, cls)
        return cls

    yield make
    for name in made:
        del sys.modules[name]


def same(loaded: nn.Module, net: nn.Module) -> bool:
    pairs = zip(loaded.state_dict().values(), net.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# Beside weights


def test_a_checkpoint_of_lightning_with_callbacks(
    tmp_path: Path, net: SR3UNet, absent: Callable[..., type]
) -> None:
    callback = absent("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    options = absent("omegaconf.dictconfig.DictConfig")()
    options.values = {"lr": 1e-4, "scale": options.__class__()}
    saved = {
        "callbacks": {callback: {"best_model_score": torch.tensor(3.0), "best": np.float64(0.3)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3, 3)}}}],
        "hyper_parameters": options,
        "loops": {"fit": {"started": np.array([1, 2]), "at": pathlib.Path("x")}},
        "state_dict": {f"model.{name}": t for name, t in net.state_dict().items()},
    }
    torch.save(saved, tmp_path / "last.ckpt")
    del sys.modules["pytorch_lightning.callbacks.model_checkpoint"].ModelCheckpoint  # type: ignore[attr-defined]
    assert same(load_sr3(tmp_path / "last.ckpt", norm_groups=4), net)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "beside",
    [
        np.float64(27.3),
        np.float32(27.3),
        np.int64(3),
        np.bool_(True),
        np.arange(4.0),
        {"psnr": [np.float64(27.3)]},
        argparse.Namespace(lr=1e-4, out=pathlib.Path("a/b")),
        collections.defaultdict(list, {"loss": [0.1, 0.2]}),
        collections.defaultdict(dict, {"a": {"b": 1}}),
        collections.defaultdict(float),
        collections.Counter("aab"),
        torch.float16,
        {1, 2},
        complex(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_data_beside_weights(tmp_path: Path, net: SR3UNet, beside: Any, zipped: bool) -> None:
    saved = {"epoch": 3, "best": beside, "state_dict": net.state_dict()}
    torch.save(saved, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert same(load_sr3(tmp_path / "w.pth", norm_groups=4), net)


def test_a_dict_of_a_library(tmp_path: Path, net: SR3UNet, absent: Callable[..., type]) -> None:
    easy = absent("easydict.EasyDict", dict)
    torch.save({"opt": easy(lr=1, net=easy(b=2)), "params": net.state_dict()}, tmp_path / "w.pth")
    assert same(load_sr3(tmp_path / "w.pth", norm_groups=4), net)


# In the place of weights


class Config:
    """A class of somebody's training code."""

    def __init__(self) -> None:
        self.lr = 1e-4


class Options(dict):  # type: ignore[type-arg]
    """Another."""

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pt"))
    return out.getvalue()


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("weights.pt", b"1")
    return out.getvalue()


LFS = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 2211383297
"""


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: damaged, cut short"),
        (LFS, "is a pointer of Git LFS, not the weights: get them by `git lfs pull`"),
        (b"<!DOCTYPE html><html><head>", "is a web page, not weights.*download the file itself"),
        (b"\xef\xbb\xbf\r\n  <HTML lang='de'>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "is a web page.*or an error"),
        (b'{"error": "Repository not found"}', "is text, not weights .it begins with '.\"error"),
        ("Zugriff verweigert: für".encode(), "is text, not weights .it begins with 'Zugriff"),
        (gzip.compress(b"weights"), "is an archive: unpack it"),
        (tar(), "is an archive: unpack it"),
        (zipped(), "is an archive: unpack it"),
        (b"\x89HDF\r\n\x1a\n\x00\x00", r"of Keras .HDF5.: weights of PyTorch"),
        (bytes(range(128, 256)) * 8, "is damaged, cut short, or no file of torch.save"),
    ],
    ids=map(str, range(12)),  # archives hold the time
)
def test_files_that_hold_no_weights(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for load in (load_sr3, load_prior):
        with pytest.raises(InputError, match=message):
            load(tmp_path / name)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors",
                                  "diffusion_pytorch_model.bin"])  # fmt: skip
def test_a_folder_that_was_cloned_without_git_lfs(tmp_path: Path, name: str) -> None:
    pytest.importorskip("diffusers")
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DModel"}')
    (tmp_path / "unet" / name).write_bytes(LFS)
    with pytest.raises(InputError, match="is a pointer of Git LFS"):
        load_prior(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_model_says_that_it_is_one(tmp_path: Path, net: SR3UNet, zipped: bool) -> None:
    for value, named in (
        (net, "cl_sr.models.unet"),
        ({"model": net, "epoch": 3}, "cl_sr.models.unet"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), "torch.nn.modules"),
    ):
        torch.save(value, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(InputError) as caught:
            load_sr3(tmp_path / "w.pth")
        assert "is a whole pickled model (" in str(caught.value)
        assert named in str(caught.value)
        assert "save its weights alone: torch.save(model.state_dict(), FILE)" in str(caught.value)


def test_a_torchscript_program(tmp_path: Path) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "w.pt"))
    with pytest.raises(InputError, match=r"whole pickled model \(torch.jit.ScriptModule\)"):
        load_prior(tmp_path / "w.pt")


def test_objects_of_ones_own_are_left_out(tmp_path: Path, net: SR3UNet) -> None:
    own = {"config": Config(), "options": Options(lr=1, more=Options()), "best": np.float64(3)}
    torch.save({"state_dict": net.state_dict(), **own}, tmp_path / "w.pth")
    assert same(load_sr3(tmp_path / "w.pth", norm_groups=4), net)
    torch.save({"model": Config()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"more than weights \(\S*Config\), and Python objects"):
        load_sr3(tmp_path / "w.pth")


@pytest.mark.parametrize("call", [print, eval, getattr, shutil.rmtree, subprocess.run])
def test_calls_beside_weights_are_refused(tmp_path: Path, net: SR3UNet, call: Any) -> None:
    class Calls:
        def __reduce__(self) -> Any:
            return call, ("1",)

    torch.save({"state_dict": net.state_dict(), "x": Calls()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=rf"\({call.__module__}.{call.__name__}\), and Python"):
        load_sr3(tmp_path / "w.pth")


def test_the_content_tells_the_format(tmp_path: Path, net: SR3UNet) -> None:
    from safetensors.torch import save_file

    save_file(net.state_dict(), tmp_path / "named.pth")
    torch.save(net.state_dict(), tmp_path / "named.safetensors")
    for name in ("named.pth", "named.safetensors"):
        assert same(load_sr3(tmp_path / name, norm_groups=4), net)


def test_an_optimizer_beside_weights_is_not_taken_for_them(tmp_path: Path, net: SR3UNet) -> None:
    state = {"optimizer": {"a": torch.zeros(3, 3)}, "netG": net.state_dict()}
    torch.save(state, tmp_path / "w.pth")
    assert same(load_sr3(tmp_path / "w.pth", norm_groups=4), net)


# In other numbers, and around weights


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("of", ["all", "weights", "buffers"])
@pytest.mark.parametrize(
    "schedule", [NoiseSchedule.linear(), NoiseSchedule.linear(1000, 1e-4, 2e-2)]
)
def test_a_public_file_in_half_precision(
    tmp_path: Path, net: SR3UNet, dtype: torch.dtype, of: str, schedule: NoiseSchedule
) -> None:
    def changed(name: str) -> bool:
        return of == "all" or (of == "weights") == name.startswith("denoise_fn.")

    state = public_sr3(net, schedule)
    halved = {name: t.to(dtype) if changed(name) else t for name, t in state.items()}
    torch.save(halved, tmp_path / "I1_gen.pth")
    model = read_model(tmp_path / "I1_gen.pth", norm_groups=4)
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    # Of the noise's standard deviation, relative.
    found, true = ((1 - s.gammas[1:]).sqrt() for s in (model.schedule, schedule))
    assert float((found / true - 1).abs().max()) < 0.01
    halved["alphas_cumprod"] = halved["alphas_cumprod"].flip(0)
    torch.save(halved, tmp_path / "I1_gen.pth")
    with pytest.raises(InputError, match="alphas_cumprod contradict each other"):
        load_sr3(tmp_path / "I1_gen.pth", norm_groups=4)


WRAPPED = [
    "_orig_mod.{}",
    "module.{}",
    "module._orig_mod.{}",
    "_orig_mod.module.{}",
    "model.{}",
    "ema_model.{}",
    "ema_model.model.{}",
    "ema_model._orig_mod.model.{}",
    "model._orig_mod.{}",
    "denoise_fn.{}",
    "_orig_mod.denoise_fn.{}",
    "denoise_fn._orig_mod.{}",
    "module.denoise_fn.module.{}",
    "model.diffusion_model.{}",
    "net.{}",
    "unet.{}",
    "netG.module.{}",
    "network.denoiser.{}",
]


@pytest.mark.parametrize("pattern", WRAPPED)
def test_names_of_wrappers_are_taken_off(tmp_path: Path, pattern: str) -> None:
    torch.manual_seed(0)
    ddpm = DDPMUNet(32, 32, (1,), 1, ())
    guided = GuidedUNet(model_channels=32, channel_mult=(1,), num_res_blocks=1,
                        num_head_channels=32)  # fmt: skip
    sr3 = SR3UNet(in_channel=3, **SMALL)
    for net, options in ((ddpm, {}), (guided, {}), (sr3, {"norm_groups": 4})):
        state = {pattern.format(name): t for name, t in net.state_dict().items()}
        torch.save({"epoch": 1, "state_dict": state}, tmp_path / "w.pt")
        found = load_prior(tmp_path / "w.pt", **options).net
        assert same(found.net if net is sr3 else found, net)  # type: ignore[arg-type]


def test_parts_that_were_compiled(tmp_path: Path, net: SR3UNet) -> None:
    state = {name.replace("mid.0.", "mid.0._orig_mod."): t for name, t in net.state_dict().items()}
    assert any("_orig_mod" in name for name in state)
    torch.save(state, tmp_path / "w.pt")
    assert same(load_sr3(tmp_path / "w.pt", norm_groups=4), net)


def test_a_moving_average_is_read_before_what_it_is_of(tmp_path: Path) -> None:
    """denoising-diffusion-pytorch: both, each with the buffers of the process around the net."""
    state = DDPMUNet(32, 32, (1,), 1, ()).state_dict()
    schedule = {"betas": torch.linspace(1e-3, 0.2, 30), "step": torch.tensor(3)}

    def process(prefix: str, more: float) -> dict[str, Tensor]:
        net = {f"{prefix}model.{name}": t + more for name, t in state.items()}
        return net | {f"{prefix}{name}": t for name, t in schedule.items()}

    average = process("online_model.", 0) | process("ema_model.", 1) | {"initted": torch.ones(())}
    torch.save({"step": 3, "model": process("", 0), "ema": average}, tmp_path / "model-3.pt")
    prior = load_prior(tmp_path / "model-3.pt")
    found = prior.net.state_dict()["conv_in.bias"]
    assert torch.equal(found, state["conv_in.bias"] + 1)
    assert prior.schedule.steps == 30


def test_a_moving_average_that_counts_its_steps(tmp_path: Path, net: SR3UNet) -> None:
    state = {f"ema_model.model.{name}": t for name, t in net.state_dict().items()}
    torch.save(state | {"ema_model.step": torch.tensor([3])}, tmp_path / "w.pt")
    assert same(load_sr3(tmp_path / "w.pt", norm_groups=4), net)
    torch.save({"a." * 2000 + "b": torch.zeros(2, 2)}, tmp_path / "deep.pt")
    with pytest.raises(InputError, match="unknown kind"):
        load_prior(tmp_path / "deep.pt")


def test_the_public_codes_file_in_a_compiled_wrapper_keeps_its_schedule(
    tmp_path: Path, net: SR3UNet
) -> None:
    state = public_sr3(net, NoiseSchedule.linear(20))
    torch.save({f"_orig_mod.{name}": t for name, t in state.items()}, tmp_path / "w.pth")
    assert read_model(tmp_path / "w.pth", norm_groups=4).schedule.steps == 20


# Other kinds


def test_a_classifier_is_no_denoiser(tmp_path: Path) -> None:
    encoder = GuidedUNet(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,),
        num_head_channels=32,
    ).state_dict()  # fmt: skip
    state = {name: t for name, t in encoder.items() if not name.startswith(("output", "out."))}
    for name, shape in (
        ("positional_embedding", (64, 65)), ("qkv_proj.weight", (192, 64, 1)),
        ("c_proj.weight", (1000, 64, 1)),
    ):  # fmt: skip
        state[f"out.2.{name}"] = torch.zeros(shape)
    torch.save(state, tmp_path / "256x256_classifier.pt")
    with pytest.raises(InputError, match="is a classifier of guided-diffusion"):
        load_prior(tmp_path / "256x256_classifier.pt")
    with pytest.raises(InputError, match="looks like a classifier of guided-diffusion"):
        load_sr3(tmp_path / "256x256_classifier.pt")


def test_latents_are_no_images(tmp_path: Path) -> None:
    net = GuidedUNet(model_channels=32, channel_mult=(1,), num_res_blocks=1, num_head_channels=32)
    state = {f"model.diffusion_model.{name}": t for name, t in net.state_dict().items()}
    state["first_stage_model.encoder.conv_in.weight"] = torch.zeros(3, 3, 3, 3)
    torch.save({"state_dict": state}, tmp_path / "ldm.ckpt")
    with pytest.raises(InputError, match=r"diffuses latents.*latent diffusion's"):
        load_prior(tmp_path / "ldm.ckpt")


# Places


def test_the_public_code_names_a_state_without_its_ends(tmp_path: Path, net: SR3UNet) -> None:
    torch.save(net.state_dict(), tmp_path / "I640000_E37_gen.pth")
    torch.save({"optimizer": {}}, tmp_path / "I640000_E37_opt.pth")
    for name in ("I640000_E37", "I640000_E37_gen", "I640000_E37_gen.pth", "."):
        assert same(load_sr3(tmp_path / name, norm_groups=4), net)
    with pytest.raises(InputError, match=r"state of an optimizer: give I640000_E37_gen.pth"):
        load_sr3(tmp_path / "I640000_E37_opt.pth")
    torch.save(net.state_dict(), tmp_path / "I90000_E4_gen.pth")
    with pytest.raises(InputError, match=r"holds 2 states: give one, such as .*I640000_E37_gen"):
        load_sr3(tmp_path)
    with pytest.raises(InputError, match="no weights here"):
        load_sr3(tmp_path / "I640000_E38")


def test_names_that_cannot_be(tmp_path: Path) -> None:
    for name in ("a" * 300, "b\0", "c" * 252):
        with pytest.raises(InputError):
            load_prior(tmp_path / name)
    assert weights_at(tmp_path / "none") == tmp_path / "none"


@pytest.mark.parametrize("average", [False, True])
def test_a_checkpoint_of_diffusers_training_script(tmp_path: Path, average: bool) -> None:
    diffusers = pytest.importorskip("diffusers")

    def make(seed: int) -> Any:
        torch.manual_seed(seed)
        return diffusers.UNet2DModel(
            sample_size=8, block_out_channels=(32,), layers_per_block=1,
            down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        )  # fmt: skip

    folder, net = tmp_path / "ddpm-model-64" / "checkpoint-500", make(0)
    net.save_pretrained(folder / "unet")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        torch.save({"state": {0: {"exp_avg": torch.zeros(2, 2)}}}, folder / name)
    if average:  # as diffusers.training_utils.EMAModel.save_pretrained writes it
        other = make(1)
        other.register_to_config(decay=0.9999, optimization_step=500, use_ema_warmup=True)
        other.save_pretrained(folder / "unet_ema")
    prior = load_prior(folder)
    assert same(prior.net.net, make(1) if average else net)  # type: ignore[arg-type, union-attr]
    for place in ("unet", "unet/diffusion_pytorch_model.safetensors"):
        assert same(load_prior(folder / place).net.net, net)  # type: ignore[arg-type, union-attr]
    with pytest.raises(InputError, match="like an optimizer's state"):
        load_prior(folder / "optimizer.bin")
    diffusers.DDPMScheduler(60).save_pretrained(folder.parent / "scheduler")
    assert load_prior(folder).schedule.steps == 60
    about = json.loads((folder / "unet" / "config.json").read_text())
    assert about["_class_name"] == "UNet2DModel"
