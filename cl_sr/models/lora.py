"""Low-rank adapters of convolutions and linear layers (LoRA, Hu et al., arXiv 2106.09685, Eq. 3).

A weight becomes `W + scale * B A`. For a convolution `W` is taken as the matrix
`(out, in * height * width)`, so that `A` is a convolution to `rank` channels and `B` one of 1x1:
the shapes and names of peft. The sum is made once a forward pass and costs little beside it.
An adapter that is cut from trained weights also has the change of what is no matrix.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

Factors = dict[str, Tensor]


class LowRank(nn.Module):
    """Adds a low-rank matrix to a weight; nothing at first, as `B` begins at zero."""

    def __init__(self, weight: Tensor, rank: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        columns = weight[0].numel()
        bound = 1 / math.sqrt(columns)  # as peft and loralib: Kaiming with a = sqrt(5)
        self.A = nn.Parameter(torch.empty(rank, columns, device=weight.device))
        self.B = nn.Parameter(torch.zeros(len(weight), rank, device=weight.device))
        nn.init.uniform_(self.A, -bound, bound)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.B @ self.A).view(weight.shape)


def adaptable(net: nn.Module, where: str = "") -> dict[str, nn.Module]:
    """The convolutions and linear layers of a net whose name a regular expression is found in."""
    return {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and re.search(where, name)
    }


def attach(net: nn.Module, rank: int, where: str = "", scale: float = 1.0) -> None:
    """Freeze a net and give the layers that `where` is found in a trainable low-rank adapter.

    Layers that are frozen already get none.
    """
    trained = {name for name, weight in net.named_parameters() if weight.requires_grad}
    net.requires_grad_(False)
    for name, module in adaptable(net, where).items():
        weight = module.weight
        assert isinstance(weight, Tensor)
        if f"{name}.weight" in trained:
            adapter = LowRank(weight, rank, scale)
            parametrize.register_parametrization(module, "weight", adapter)


def factors(net: nn.Module) -> Factors:
    """`LAYER.A` and `LAYER.B` of every adapter that is attached."""
    return {
        f"{name}.{factor}": getattr(_adapter(module), factor).detach().clone()
        for name, module in _adapted_modules(net)
        for factor in "AB"
    }


def extract(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], rank: int, where: str = ""
) -> Factors:
    """The best adapter of a rank for the change from old weights to new ones.

    `LAYER.A` and `LAYER.B` of every matrix, best in the sum of squares by the singular value
    decomposition (Eckart and Young, 1936); a layer that is narrower has the rank of its narrower
    side. `NAME.D` is the whole change of what has one dimension: biases and norms.
    """
    found = {}
    for name, weight in new.items():
        layer = name.rpartition(".")[0]
        if not re.search(where, layer):
            continue
        change = weight - old[name]
        if weight.ndim < 2:
            found[f"{name}.D"] = change
            continue
        left, strength, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
        root = strength[:rank].sqrt()
        found[f"{layer}.A"] = root[:, None] * right[:rank]
        found[f"{layer}.B"] = left[:, :rank] * root
    return found


def merge(net: nn.Module) -> None:
    """Add every adapter to its weight for good: the net is plain again."""
    for _, module in list(_adapted_modules(net)):
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)


def merged(
    weights: Mapping[str, Tensor], adapter: Mapping[str, Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """The weights of a plain net with an adapter (`factors`, `extract`) added."""
    state = dict(weights)
    for name, part in adapter.items():
        place, _, kind = name.rpartition(".")
        if kind == "A":
            weight, b = state[f"{place}.weight"], adapter[f"{place}.B"]
            state[f"{place}.weight"] = weight + scale * (b @ part).view(weight.shape)
        elif kind == "D":
            state[place] = state[place] + scale * part
    return state


def adapted(net: nn.Module) -> bool:
    """Whether adapters are attached."""
    return any(True for _ in _adapted_modules(net))


def plain_state(net: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Copies of a net's weights, by their names in a plain one, with adapters added."""
    state = {}
    for name in names:
        module, _, attribute = name.rpartition(".")
        state[name] = getattr(net.get_submodule(module), attribute).detach().clone()
    return state


def save_peft(
    folder: Path, adapter: Mapping[str, Tensor], weights: Mapping[str, Tensor], scale: float = 1.0
) -> None:
    """Write an adapter as peft does: `adapter_model.safetensors` and `adapter_config.json`.

    Args:
        folder: made where it is not there.
        adapter: `factors` or `extract` of it. Changes of biases become those of `lora_B`, which
            peft adds to the layer's own; norms are `modules_to_save`. So are, beside changed
            biases, the layers that have none: peft's `lora_bias` holds for all layers of an
            adapter, and it merges none with a layer that has no bias.
        weights: those of the plain net below the adapter.
        scale: of the adapter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ranks = {name[:-2]: len(a) for name, a in adapter.items() if name.endswith(".A")}
    changes = {name[:-2]: change for name, change in adapter.items() if name.endswith(".D")}
    biased = any(f"{layer}.bias" in changes for layer in ranks)
    below = "base_model.model."
    tensors: dict[str, Tensor] = {}
    whole = set()
    for layer in list(ranks):
        a, b = adapter[f"{layer}.A"], adapter[f"{layer}.B"]
        weight = weights[f"{layer}.weight"]
        if biased and f"{layer}.bias" not in weights:
            tensors[f"{below}{layer}.weight"] = weight + scale * (b @ a).view(weight.shape)
            whole.add(layer)
            del ranks[layer]
            continue
        trailing = weight.shape[2:]
        tensors[f"{below}{layer}.lora_A.weight"] = a.reshape(len(a), -1, *trailing)
        tensors[f"{below}{layer}.lora_B.weight"] = b.reshape(*b.shape, *(1 for _ in trailing))
        if biased:
            bias = changes.pop(f"{layer}.bias", None)
            tensors[f"{below}{layer}.lora_B.bias"] = b.new_zeros(len(b)) if bias is None else bias
    # What is left of the changes is of norms.
    for name, change in changes.items():
        tensors[below + name] = weights[name] + scale * change
        whole.add(name.rpartition(".")[0])
    rank = max(ranks.values(), default=1)
    narrow = {layer: own for layer, own in ranks.items() if own < rank}
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank * scale,
        "rank_pattern": narrow,
        "alpha_pattern": {layer: own * scale for layer, own in narrow.items()},
        "target_modules": list(ranks),
        "modules_to_save": sorted(whole) or None,
        "lora_bias": biased,
        "bias": "none",
        "lora_dropout": 0.0,
        "inference_mode": True,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _adapted_modules(net: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    return (
        (name, module)
        for name, module in net.named_modules()
        if parametrize.is_parametrized(module, "weight") and isinstance(_adapter(module), LowRank)
    )


def _adapter(module: Any) -> Any:
    return module.parametrizations.weight[0]
