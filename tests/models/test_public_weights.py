"""Weights of the public SR3 code, and files that are none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from public_files import SMALL, public_sr3

from cl_sr.diffusion import NoiseSchedule
from cl_sr.errors import InputError
from cl_sr.models import SR3UNet, load_prior, load_sr3, read_model


def test_public_sr3_weights_and_schedule(tmp_path: Path) -> None:
    net, schedule = SR3UNet(**SMALL, attn_res=[32], image_size=64), NoiseSchedule.linear(50)
    torch.save(public_sr3(net, schedule), tmp_path / "I100_gen.pth")
    loaded = load_sr3(tmp_path / "I100_gen.pth", image_size=64, norm_groups=4)
    assert loaded.config == net.config
    found = read_model(tmp_path / "I100_gen.pth", image_size=64, norm_groups=4).schedule
    assert torch.allclose(found.gammas, schedule.gammas)
    x, level = torch.randn(2, 3, 64, 64), torch.tensor([0.3, 0.9])
    assert torch.equal(loaded(x, x, level), net(x, x, level))


def test_without_buffers_or_prefix_a_state_dict_is_read_too(tmp_path: Path) -> None:
    net = SR3UNet(**SMALL)
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}},
               tmp_path / "w.pth", _use_new_zipfile_serialization=False)  # fmt: skip
    loaded = load_sr3(tmp_path / "w.pth", norm_groups=4)
    assert read_model(tmp_path / "w.pth", norm_groups=4).schedule.steps == 2000  # SR3's
    given = read_model(tmp_path / "w.pth", schedule=NoiseSchedule.linear(30), norm_groups=4)
    assert given.schedule.steps == 30
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), net.parameters(), strict=True)
    )


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    torch.save(SR3UNet(**SMALL).half().state_dict(), tmp_path / "w.pth")
    assert {p.dtype for p in load_sr3(tmp_path / "w.pth").parameters()} == {torch.float32}


def test_weights_stay_where_the_file_is_mapped(tmp_path: Path) -> None:
    """A checkpoint of gigabytes is neither copied nor read before it is used."""
    torch.save(SR3UNet(**SMALL).state_dict(), tmp_path / "w.pth")
    net = load_sr3(tmp_path / "w.pth")
    maps = [
        tuple(int(part, 16) for part in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("w.pth")
    ]
    assert maps
    assert all(any(a <= p.data_ptr() < b for a, b in maps) for p in net.parameters())


class Opens:
    """A pickle that would run code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_not_executed(tmp_path: Path) -> None:
    for name, write in (
        ("plain.pth", lambda path, value: path.write_bytes(pickle.dumps(value))),
        ("zip.pth", lambda path, value: torch.save(value, path)),
    ):
        write(tmp_path / name, {"denoise_fn.x": Opens(tmp_path / "executed")})
        for load in (load_sr3, load_prior):
            with pytest.raises(InputError, match="never loaded: they can run code"):
                load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_truncated_file(tmp_path: Path, share: float, name: str) -> None:
    from safetensors.torch import save_file

    state = SR3UNet(**SMALL).state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    for load in (load_sr3, load_prior):
        with pytest.raises(InputError, match="damaged, cut short"):
            load(tmp_path / name)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    state = public_sr3(SR3UNet(**SMALL), NoiseSchedule.linear(5))
    path = tmp_path / "w.pth"
    for change, message in (
        ({"denoise_fn.mid.0.attn.out.bias": None}, r"1 missing: mid\.0\.attn\.out\.bias"),
        ({"denoise_fn.extra": torch.zeros(2)}, r"1 surplus: extra"),
        ({"denoise_fn.mid.0.attn.out.bias": torch.zeros(3)}, r"1 misshapen: .*\(3,\) instead of"),
        ({"posterior_mean_coef1": None}, r"noise schedule.*1 missing: posterior_mean_coef1"),
        ({"unknown_buffer": torch.zeros(5)}, r"1 surplus: unknown_buffer"),
        ({"betas": torch.zeros(4)}, r"1 misshapen: betas"),
        ({"betas": torch.tensor(0.1)}, r"1 misshapen: betas"),
        ({"denoise_fn.downs.0.weight": None}, r"1 missing: downs\.0\.weight"),
        ({"denoise_fn.noise_level_mlp.1.weight": None}, r"1 missing: noise_level_mlp\.1\.weight"),
        ({"denoise_fn.downs.1.res_block.block1.block.3.weight": None}, r"SR3UNet: 1 missing: "),
        ({"denoise_fn.downs.0.weight": torch.zeros(9, 6, 3, 3)}, r"1 misshapen: downs\.0\.weight"),
        ({"denoise_fn.downs.0.bias": torch.zeros(8, dtype=torch.int64)}, r"no real numbers"),
        ({"sqrt_alphas_cumprod": torch.ones(5)}, r"sqrt_alphas_cumprod contradict"),
        ({"betas": torch.full((5,), 2.0)}, r"betas in it make no noise schedule"),
        ({"betas": torch.full((5,), 0.5)}, r"alphas_cumprod contradict each other"),
    ):
        changed = {k: v for k, v in (state | change).items() if v is not None}
        torch.save(changed, path)
        with pytest.raises(InputError, match=message):
            load_sr3(path, norm_groups=4)


def test_a_first_multiplier_above_1(tmp_path: Path) -> None:
    net = SR3UNet(
        inner_channel=16, channel_mults=(2, 4), norm_groups=16, image_size=32, attn_res=()
    )
    torch.save(net.state_dict(), tmp_path / "w.pth")
    assert load_sr3(tmp_path / "w.pth").config["norm_groups"] == 16


def test_another_kind_is_named(tmp_path: Path) -> None:
    for key, load, kind in (
        ("input_blocks.0.0.weight", load_sr3, "guided-diffusion's"),
        ("temb.dense.0.weight", load_sr3, "the DDPM CelebA-HQ kind"),
        ("model.diffusion_model.x", load_prior, "latent diffusion's"),
        ("denoise_fn.time_mlp.1.weight", load_sr3, "DDPM network"),
        ("exp_avg", load_sr3, "an optimizer's state"),
        ("layers.0.weight", load_prior, "of an unknown kind .it begins with layers.0.weight"),
        ("label_emb.weight", load_prior, "class-conditional"),
    ):
        torch.save({key: torch.zeros(2, 2)}, tmp_path / "w.pth")
        with pytest.raises(InputError, match=kind):
            load(tmp_path / "w.pth")
