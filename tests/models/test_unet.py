import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cl_sr.diffusion import NoiseSchedule, q_sample, sample
from cl_sr.models import SR3UNet


def build_meta(**config: object) -> SR3UNet:
    with torch.device("meta"):
        return SR3UNet(**config)  # type: ignore[arg-type]


def test_the_public_face_net_has_97_8_million_parameters() -> None:
    net = build_meta(channel_mults=(1, 2, 4, 8, 8), attn_res=(16,), res_blocks=2)
    assert sum(p.numel() for p in net.parameters()) == 97_807_491


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sr3_16_128", "sr3_64_512"])
def test_every_key_and_shape_of_the_public_checkpoints(golden: Path, name: str) -> None:
    recorded = json.loads((golden / "sr3_checkpoint_keys.json").read_text())[name]
    net = build_meta(**recorded["unet"])
    ours = {f"denoise_fn.{key}": list(t.shape) for key, t in net.state_dict().items()}
    theirs = {k: s for k, s in recorded["keys"].items() if k.startswith("denoise_fn.")}
    assert ours == theirs


@pytest.mark.shared
@pytest.mark.parametrize("name", ["sr3_tiny", "sr3_uncond_tiny"])
def test_the_same_function_as_the_public_code(golden: Path, name: str) -> None:
    with safe_open(golden / f"{name}_io.safetensors", "pt") as file:
        about = file.metadata()
        io = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    net = SR3UNet(**json.loads(about["config"])).eval()
    state = torch.load(golden / f"{name}_gen.pth", weights_only=True)
    prefix = "denoise_fn."
    net.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    condition = io["cond"] if about["conditional"] == "True" else None
    s = json.loads(about["schedule"])
    schedule = NoiseSchedule.linear(s["n_timestep"], s["linear_start"], s["linear_end"])
    with torch.no_grad():
        answer = net(io["noisy"], condition, io["noise_level"])
        noisy = q_sample(io["hr"], io["train_level"], io["train_noise"])
        error = net(noisy, condition, io["train_level"]) - io["train_noise"]
    images = sample(net, condition, schedule, start=io["loop_start"], noises=io["loop_noises"])

    def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
        return float((ours - theirs).abs().max() / theirs.abs().max())

    assert difference(answer, io["eps"]) < 2e-5
    assert difference(noisy, io["q_sample"]) < 2e-5
    assert difference(images, io["loop_end"]) < 1e-4
    assert difference(error.abs().sum(), io["loss_l1_sum"]) < 1e-5
    assert difference(error.square().sum(), io["loss_l2_sum"]) < 1e-5


def test_attention_only_where_it_is_asked_for() -> None:
    net = build_meta(image_size=32, channel_mults=(1, 2), attn_res=(16,), res_blocks=1)
    with_attention = [name for name, _ in net.named_parameters() if "attn.qkv" in name]
    assert {name.split(".attn")[0] for name in with_attention} == {
        "downs.3",
        "mid.0",
        "ups.0",
        "ups.1",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"inner_channel": 30}, "norm_groups"),
        ({"image_size": 40}, "multiple of 16"),
    ],
)
def test_sizes_that_do_not_divide_are_refused(config: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_meta(**config)
