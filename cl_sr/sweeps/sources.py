"""What the members of a sweep share: the training on the first domain.

The paper starts everything from one pretrained model, and so does a sweep: the first domain is
trained once for each configuration of it, and the members start from its weights (`init`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cl_sr
from cl_sr.benchmarks import find_stream
from cl_sr.config import RunConfig, budgets
from cl_sr.data.folder import find_images
from cl_sr.models.family import DEFAULT
from cl_sr.models.places import weights_at
from cl_sr.strategies import compose


def fingerprint(path: Path) -> str:
    """What tells files from others: their contents and names below a folder.

    Not their times: data that was copied to another machine is the same data.
    """
    if not path.exists():
        return f"no {path}"
    files = [path]
    if path.is_dir():
        files = find_images(path) or sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        for file, content in zip(files, pool.map(_content, files), strict=True):
            name = file.relative_to(path).as_posix()
            digest.update(f"{name} {content}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:  # told by the run, if it cares
        return "unreadable"


def source(
    config: RunConfig, look: Callable[[Path], str] = fingerprint
) -> tuple[str, RunConfig] | None:
    """The run that trains the first domain of a member alone, and what it is called.

    The name holds a hash of all that its weights depend on: two of the same name are the same,
    whatever streams they are of and wherever their images lie. None where a member has to train the
    first domain itself: its strategy acts on it already, or there is nothing to learn after it.

    Args:
        config: of the member.
        look: what tells the files of a path; for many members, one that remembers.
    """
    domains = find_stream(config.stream).domain_names
    first, *others = domains
    plain = compose(*config.strategy).traits.plain_start
    iterations = budgets(config.train.iterations, len(domains))
    if not plain or not others or not iterations[0]:
        return None
    values = config.model_dump()
    values["strategy"] = "finetune"
    values["train"]["iterations"] = [iterations[0], 0]
    values["data"]["shares"] = {
        name: share for name, share in config.data.shares.items() if name == first
    }
    values["eval"] = {"images": 0, "every": 0, "samples": 0, "split": config.eval.split}
    found = RunConfig.model_validate(values)

    depends = found.model_dump(mode="json", exclude={"stream", "checkpoint", "init"})
    depends["strategy"] = "finetune"
    del depends["eval"]["draws"]  # nothing is evaluated; the hash is that of before there were any
    family = depends["model"].pop("family")
    if family != DEFAULT:  # without which the hash is that of a time when there were no others
        depends["family"] = look(Path(family)) if family.endswith(".py") else family
    if config.data.channels == 3:  # as well
        del depends["data"]["channels"]
    folders, root = depends["data"].pop("folders"), depends["data"].pop("root")
    folder = folders.get(first) or (f"{root}/{first}" if root else None)
    depends |= {
        "domain": first,
        "images": look(Path(folder)) if folder else None,
        "stream": look(Path(config.stream)) if config.stream.endswith(".py") else None,
        "init": look(_file(config.init)) if config.init else None,
        "version": cl_sr.__version__,
    }
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:8]
    return f"{first}-seed{config.seed}-{digest}", found


def _file(init: str) -> Path:
    """Of weights that are named without the end of their file."""
    return Path(init) if Path(init).exists() else weights_at(init)


def after_source(config: RunConfig, path: Path) -> RunConfig:
    """A member that starts from the weights of its source, which is run in `path`."""
    domains = find_stream(config.stream).domain_names
    values = config.model_dump()
    values["init"] = str(path / "checkpoints" / domains[0])
    values["train"]["iterations"] = [0, *budgets(config.train.iterations, len(domains))[1:]]
    return RunConfig.model_validate(values)
