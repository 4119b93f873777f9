"""The keys and shapes of published checkpoints at their full size, as recorded from public code."""

import json
from pathlib import Path

import pytest
import torch

from cl_sr.models import SR3UNet
from cl_sr.models.architecture import ddpm_arguments, guided_arguments, sr3_arguments
from cl_sr.models.ddpm import DDPMUNet
from cl_sr.models.guided import GuidedUNet

RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sr3_checkpoint_keys", "sr3_16_128"),
        ("sr3_checkpoint_keys", "sr3_64_512"),
        ("prior_checkpoint_keys", "guided_256_uncond"),
        ("prior_checkpoint_keys", "ddpm_celebahq_256"),
    ],
)
def test_full_size_key_lists(file: str, name: str) -> None:
    """Every key and shape of the published networks, and their arguments from the shapes alone."""
    about = json.loads((RECORDED / f"{file}.json").read_text())[name]
    prefix = "denoise_fn." if name.startswith("sr3") else ""
    keys = {k.removeprefix(prefix): s for k, s in about["keys"].items() if k.startswith(prefix)}
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in keys.items()}
        if name.startswith("sr3"):
            net: torch.nn.Module = SR3UNet(**sr3_arguments(state))
            configured = about["unet"] | {"dropout": 0}
            assert {"dropout": 0, **sr3_arguments(state)} == configured
        elif name.startswith("guided"):
            net = GuidedUNet(**guided_arguments(state))
        else:
            net = DDPMUNet(**ddpm_arguments(state))
    assert {key: list(tensor.shape) for key, tensor in net.state_dict().items()} == keys
    assert sum(p.numel() for p in net.parameters()) == about["parameters"]
