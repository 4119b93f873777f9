"""What strategies remember: saved with every checkpoint, as tensors and JSON values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError

if TYPE_CHECKING:
    from cl_sr.data.samples import Samples

Memory = dict[str, Any]


def check_memory(memory: Memory, who: str) -> None:
    """Refuse what could not be saved, when it is remembered and not only when it is saved.

    Args:
        memory: of one strategy.
        who: its name.

    Raises:
        InputError: with the name of what is in it.
    """
    from torch import Tensor

    for name, value in memory.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for key, held in inner:
            where = f"strategy {who}: memory[{name!r}]"
            if not isinstance(name, str) or not isinstance(key, str) or "/" in name + key:
                raise InputError(f"{where}: names must be text without '/'")
            if isinstance(held, Tensor):
                continue
            try:
                json.dumps(held)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"{where} must be a tensor or a JSON value, or a dictionary of them, not "
                    f"{type(held).__name__}"
                ) from error


def keep(memory: Memory, samples: Samples) -> None:
    """Put samples where `drawn` finds them."""
    memory["samples"] = {"lr": samples.lr, "hr": samples.hr}


def drawn(memory: Memory, count: int, flip: bool = True) -> Samples | None:
    """`count` samples at random of those that `keep` has put there; None without any.

    With `flip` half of them are mirrored.
    """
    import torch

    from cl_sr.data.samples import Samples

    if "samples" not in memory:
        return None
    kept = Samples(**memory["samples"])
    # By the CPU's generator, wherever they lie: a run that is resumed draws the same.
    chosen = kept[torch.randint(len(kept), (count,)).to(kept.hr.device)]
    if not flip:
        return chosen
    return chosen.mirrored((torch.rand(count) < 0.5).to(kept.hr.device))


def flatten(memory: Memory, prefix: str = "") -> Memory:
    """Nested dictionaries as one, with names joined by `/`."""
    flat: Memory = {}
    for name, value in memory.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Memory) -> Memory:
    """The inverse of `flatten`, but for empty dictionaries."""
    memory: Memory = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        place = memory
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return memory
