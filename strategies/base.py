"""The base class of strategies, and how one is found by its name and options.

A strategy is one frozen dataclass in one file. Its fields are its options; it overrides the
hooks that it needs and no others:

    @dataclass(frozen=True)
    class Mine(Strategy):
        '''One line that `cl-sr list strategies` shows.'''

        strength: float = option(1.0, "how much")

        def plugins(self, template):
            return [AnyAvalanchePlugin(self.strength)]

State belongs into the Avalanche plugins that a strategy returns, never into the strategy: one
strategy object describes a run, and many runs may share it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_sr.errors import InputError, nearest
from cl_sr.plugins import load_file, shipped

if TYPE_CHECKING:
    from torch import Tensor

    from cl_sr.config import EvalConfig, RunConfig
    from cl_sr.training.model import Model
    from cl_sr.training.template import SR3Template


def option(default: Any, help: str) -> Any:
    """A field of a strategy with a line of help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Strategy:
    """What is done at each experience of a stream. The base class is plain fine-tuning.

    Tensors and Avalanche are imported inside the hooks, so that listing strategies stays quick.
    """

    @classmethod
    def title(cls) -> str:
        """The name on the command line: the class's name with hyphens."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    def check(self, steps: int) -> None:
        """Refuse options that cannot work with a schedule of `steps` time-steps.

        Raises:
            InputError: with the remedy.
        """

    def model(self, config: RunConfig) -> Model:
        """What is trained: SR3 with random weights, or from `config.init` where that is given.

        Raises:
            InputError: what the configuration names cannot be built or read.
        """
        from cl_sr.training.model import build_model, read_model

        return read_model(config) if config.init else build_model(config)

    def curriculum(self, domains: Sequence[str]) -> list[tuple[str, ...]]:
        """The domains of each training experience, from those of the stream in order.

        None at all is a run that evaluates only.
        """
        return [(domain,) for domain in domains]

    def budget(self, domains: Sequence[str], iterations: Mapping[str, int]) -> int:
        """Iterations of an experience on `domains`, from those of each domain of the stream."""
        return sum(iterations[domain] for domain in domains)

    def window(self, experience: int, steps: int) -> tuple[int, int]:
        """The time-step window to train on: t in `{start + 1, ..., stop}`, 0 is low noise.

        Args:
            experience: number of the experience, from 0.
            steps: T of the schedule.
        """
        return 0, steps

    def plugins(self, template: SR3Template) -> list[Any]:
        """Avalanche plugins (`SupervisedPlugin`) to train with, made anew for each run."""
        return []

    def sampler(self, evaluation: EvalConfig) -> tuple[str, int | None]:
        """The name and steps of the sampler that `restore` uses, for the report."""
        return evaluation.sampler, evaluation.steps

    def restore(
        self, template: SR3Template, condition: Tensor, lr: Tensor, seeds: Sequence[int]
    ) -> Tensor:
        """High-resolution images, for evaluation.

        Args:
            template: with the net, and how to sample.
            condition: the upsampled low-resolution images, `(B, 3, H, W)` in [-1, 1].
            lr: the low-resolution images, `(B, 3, H / scale, W / scale)` in [-1, 1].
            seeds: one an image.

        Returns:
            `(B, 3, H, W)`, about [-1, 1].
        """
        return template.sample(condition, seeds)


def shipped_strategies() -> dict[str, type[Strategy]]:
    """The strategies of this folder, by name."""
    modules = shipped("cl_sr.strategies", Path(__file__).parent)
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    ]
    return {cls.title(): cls for cls in found}


def find_strategy(text: str) -> Strategy:
    """A strategy from `name` or `name:option=value,option=value`.

    A file may stand for the name: `./mine.py`, or `./mine.py:Mine` where it holds several.

    Raises:
        InputError: unknown name or option, or a value of the wrong type.
    """
    name, options = _parts(text)
    if name.split(":")[0].endswith(".py"):
        return _with_options(_from_file(name), options)
    strategies = shipped_strategies()
    if name not in strategies:
        raise InputError(
            f"unknown strategy {name!r}: {nearest(name, strategies)} (or a file: ./mine.py:Mine)"
        )
    return _with_options(strategies[name], options)


def _parts(text: str) -> tuple[str, str]:
    """The name, or `file.py` or `file.py:Class`; and the options."""
    file, suffix, rest = text.partition(".py")
    if suffix and rest[:1] in ("", ":"):
        match = re.match(r":([A-Za-z_]\w*)(?:$|:)", rest)
        name = file + suffix + (f":{match[1]}" if match else "")
        return name, text[len(name) + 1 :]
    name, _, options = text.partition(":")
    return name, options


def _from_file(name: str) -> type[Strategy]:
    """The strategy of a user's file: the class that is named, or the only one.

    Raises:
        InputError: no such file or class, one of several, or a name that is taken.
    """
    path, _, wanted = name.partition(":")
    module = load_file(path)
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Strategy)
        and value.__module__ == module.__name__
    }
    if wanted and wanted not in found:
        raise InputError(f"{path}: no strategy {wanted!r} in it: {nearest(wanted, found)}")
    if not wanted and len(found) != 1:
        raise InputError(
            f"{path} holds {len(found)} classes derived from cl_sr.strategies.Strategy "
            f"({', '.join(found)}): name one as {path}:CLASS"
        )
    cls = found[wanted] if wanted else next(iter(found.values()))
    if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise InputError(f"{path}: put @dataclass(frozen=True) before class {cls.__name__}")
    if cls.title() in shipped_strategies():
        raise InputError(f"{path}: {cls.title()!r} is a shipped strategy: name the class otherwise")
    return cls


def spell(strategy: Strategy, text: str) -> str:
    """The text that a strategy was found by, with its values as the strategy took them.

    So relative paths are absolute, and the text repeats the run from any folder.
    """
    name, options = _parts(text)
    given = [part.partition("=")[0] for part in _split(options)]
    shown = ",".join(f"{key}={getattr(strategy, key)}" for key in given)
    file, colon, wanted = name.partition(".py")
    name = os.path.abspath(os.path.expanduser(file)) + colon + wanted if colon else name
    return f"{name}:{shown}" if shown else name


def _split(options: str) -> list[str]:
    """At commas before `name=`, as values may hold commas."""
    return [part for part in re.split(r",(?=\w+=|$)", options) if part]


def _with_options(cls: type[Strategy], text: str) -> Strategy:
    from pydantic import TypeAdapter, ValidationError  # not needed to list strategies

    known = {item.name for item in fields(cls)}
    values = {}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"strategy {cls.title()}: {part!r} is not option=value")
        if not known:
            raise InputError(f"strategy {cls.title()} has no options, but was given {key!r}")
        if key not in known:
            raise InputError(f"strategy {cls.title()} has no option {key!r}: {nearest(key, known)}")
        values[key] = value
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"strategy {cls.title()}: {where}={first['input']}: {first['msg'].lower()}"
        ) from error
