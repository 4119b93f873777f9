"""What the members of a sweep share: the training on the first domain.

The paper starts everything from one pretrained model, and so does a sweep: the first domain is
trained once for each configuration of it, and the members start from its weights (`init`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from cl_sr.benchmarks import find_stream
from cl_sr.config import RunConfig, budgets
from cl_sr.strategies import compose, find_strategy


def source(config: RunConfig) -> tuple[str, RunConfig] | None:
    """The run that trains the first domain of a member alone, and what it is called.

    The name holds a hash of all that its weights depend on. None where a member has to train the
    first domain itself: its strategy acts on it already, or there is nothing to learn after it.
    """
    domains = find_stream(config.stream).domain_names
    first, *others = domains
    strategy = compose(find_strategy(config.strategy))
    # Said by the class itself: what derives from it may act on the first domain.
    plain = all(vars(type(part)).get("plain_start", False) for part in strategy.parts)
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

    depends = found.model_dump(mode="json", exclude={"stream", "checkpoint"})
    folders, root = depends["data"].pop("folders"), depends["data"].pop("root")
    depends["folder"] = folders.get(first) or (f"{root}/{first}" if root else None)
    depends["domain"] = first if not config.stream.endswith(".py") else config.stream
    digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:8]
    return f"{first}-seed{config.seed}-{digest}", found


def after_source(config: RunConfig, path: Path) -> RunConfig:
    """A member that starts from the weights of its source, which is run in `path`."""
    domains = find_stream(config.stream).domain_names
    values = config.model_dump()
    values["init"] = str(path / "checkpoints" / domains[0])
    values["train"]["iterations"] = [0, *budgets(config.train.iterations, len(domains))[1:]]
    return RunConfig.model_validate(values)
