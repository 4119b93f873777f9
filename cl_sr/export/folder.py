"""Our own format: a folder that `cl_sr.load` takes, with adapters as peft has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cl_sr.export.source import Source
from cl_sr.inference.loading import write_memory
from cl_sr.models import Model, read_model
from cl_sr.models.checkpoint import write_model
from cl_sr.models.description import MEMORY
from cl_sr.models.lora import save_peft
from cl_sr.strategies.lora import Lora

BASE, ADAPTERS = "base", "adapters"


def write(folder: Path, source: Source) -> None:
    """Weights, description, what inference needs of the strategy's memory, and adapters.

    What a run is resumed from stays behind: the optimizer, the generators, and the images that a
    strategy keeps.

    Args:
        folder: that is there.
        source: what is written.
    """
    about, memory = source.portable
    model = read_model(source.folder)
    write_model(folder, model, about)
    if memory:
        write_memory(folder, memory)
    _write_adapters(folder, source, model)


def _write_adapters(folder: Path, source: Source, model: Model) -> None:
    """`adapters/DOMAIN` of each domain after the first, and `base`, the net that they are for."""
    for number, part in enumerate(source.composition.parts):
        if not isinstance(part, Lora):
            continue
        own = source.memory.get(f"{number}-{part.title()}", {})
        if "base" not in own:
            continue
        first = source.about.domains[:1]
        about = replace(source.about, strategy=["finetune"], domains=first, iterations=0)
        (folder / BASE).mkdir()
        write_model(folder / BASE, model, about, own["base"])
        for k, domain in enumerate(source.about.domains):
            if f"adapter-{k}" in own:
                save_peft(folder / ADAPTERS / domain, own[f"adapter-{k}"], own["base"])


def contents(folder: Path) -> dict[str, str]:
    """What each part of a folder is, by its name."""
    told = {
        "model.safetensors": "the weights and the noise schedule",
        "config.json": "what they are: architecture, schedule, degradation, scale, strategy",
        MEMORY: "what the strategy chooses and restores with, beside the weights",
        f"{BASE}/": "the net of the first domain, which the adapters are for",
        f"{ADAPTERS}/": "an adapter for each later domain, in peft's layout",
    }
    return {name: what for name, what in told.items() if (folder / name).exists()}
