"""Everything that the next iteration depends on, as tensors and JSON, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cl_sr.avalanche import Clock, EvaluationPlugin, FromScratchTrainingPlugin, PeriodicEval
from cl_sr.inference.loading import MEMORY
from cl_sr.models.description import STATE_FORMAT
from cl_sr.models.lora import adapted
from cl_sr.models.objective import Objective
from cl_sr.models.weights import below
from cl_sr.strategies import Memory
from cl_sr.strategies.memory import flatten, unflatten
from cl_sr.training.ema import MovingAverage
from cl_sr.training.rng import RandomState
from cl_sr.training.stopwatch import Stopwatch

# Of what they remember, a state has all that matters by other ways.
STATELESS = (Clock, EvaluationPlugin, FromScratchTrainingPlugin, PeriodicEval)
CLOCK = ("train_iterations", "train_exp_counter", "train_exp_epochs", "train_exp_iterations",
         "train_epoch_iterations", "total_iterations")  # fmt: skip

Tensors = dict[str, Tensor]
Values = dict[str, Any]


class Trained(Protocol):
    """What has a state: a `cl_sr.training.template.DiffusionTemplate`."""

    model: Objective
    optimizer: torch.optim.Optimizer
    ema: MovingAverage | None
    memory: Memory
    trained_on: str
    lr_scale: float
    stopwatch: Stopwatch
    clock: Clock
    device: torch.device
    plugins: Sequence[Any]

    @property
    def inference_net(self) -> nn.Module: ...


def capture(trained: Trained, random: RandomState) -> tuple[Tensors, Values]:
    """The state between two iterations of an experience.

    The weights for inference are not in it: a checkpoint has them anyway. Where they are a moving
    average, the weights that are trained are `model.*`.

    Args:
        trained: the state of which is taken.
        random: the generators as training left them.

    Returns:
        Tensors by name, and values that JSON holds.
    """
    tensors, values = capture_between(trained, random)
    if trained.ema is not None:
        tensors |= {f"model.{k}": t for k, t in trained.model.state_dict().items()}
    if adapted(trained.model.net):  # the weights for inference are merged ones
        average: Any = trained.model if trained.ema is None else trained.ema.module
        tensors |= {f"adapted.{k}": t for k, t in average.state_dict().items()}
    optimizer = trained.optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for number, held in optimizer["state"].items():
        for key, value in held.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            else:
                scalars.setdefault(str(number), {})[key] = value
    values |= {
        "experience_iteration": trained.clock.train_exp_iterations,
        "ema_updates": None if trained.ema is None else trained.ema.updates,
        "lr": [group["lr"] for group in optimizer["param_groups"]],
        "betas": [list(group["betas"]) for group in optimizer["param_groups"]],
        "optimizer": scalars,
    }
    return tensors, values


def capture_between(trained: Trained, random: RandomState) -> tuple[Tensors, Values]:
    """The state between two experiences, where the optimizer starts anew."""
    tensors = {f"random.{device}": held for device, held in random.torch.items()}
    memory = flatten(trained.memory)
    tensors |= {MEMORY + k: v for k, v in memory.items() if isinstance(v, Tensor)}
    plugins: dict[str, Values] = {}
    for name, plugin in stateful(trained).items():
        plugins[name] = {}
        for key, value in plugin.state_dict().items():
            if isinstance(value, Tensor):
                tensors[f"plugins.{name}.{key}"] = value
            else:
                plugins[name][key] = value
    kind, keys, *rest = random.numpy
    version, words, gauss = random.python
    values = {
        "format": STATE_FORMAT,
        "iteration": trained.clock.train_iterations,
        "experience": trained.clock.train_exp_counter,
        "experience_iteration": 0,
        "trained_on": trained.trained_on,
        "lr_scale": trained.lr_scale,
        "seconds": trained.stopwatch.so_far,
        "memory": {k: v for k, v in memory.items() if not isinstance(v, Tensor)},
        "memory_shapes": _shapes(memory),
        "clock": {name: getattr(trained.clock, name) for name in CLOCK},
        "numpy": [kind, keys.tolist(), *rest],
        "python": [version, list(words), gauss],
        "without_state": without_state(trained),
        "plugins": plugins,
    }
    return tensors, values


def restore_between(trained: Trained, weights: Tensors, tensors: Tensors, values: Values) -> None:
    """Put all where `capture_between` found it, before the next experience."""
    trained.model.net.load_state_dict(weights)
    _restore_common(trained, tensors, values)


def restore(trained: Trained, weights: Tensors, tensors: Tensors, values: Values) -> None:
    """Put what has just begun an experience where `capture` found it.

    Args:
        trained: made from the same configuration.
        weights: those for inference.
        tensors, values: from `capture`.

    Raises:
        KeyError, ValueError, RuntimeError, TypeError: they are not of such a template.
    """
    if adapted(trained.model.net):
        average: Any = trained.model if trained.ema is None else trained.ema.module
        average.load_state_dict(below(tensors, "adapted."))
    else:
        trained.inference_net.load_state_dict(weights)
    if trained.ema is not None:
        if values["ema_updates"] != values["experience_iteration"]:
            raise ValueError(f"a moving average of {values['ema_updates']} updates")
        trained.ema.updates = values["ema_updates"]
        trained.model.load_state_dict(below(tensors, "model."))
    _restore_optimizer(trained, tensors, values)
    _restore_common(trained, tensors, values)


def restore_memory(trained: Trained, weights: Tensors, tensors: Tensors, values: Values) -> None:
    """Put back what the strategies remember, before the model is adapted to an experience."""
    flat = below(tensors, MEMORY) | values["memory"]
    if _shapes(flat) != values["memory_shapes"]:
        raise ValueError("not all that the strategies remember is there")
    trained.memory = unflatten(_placed(flat, trained.device))


def _restore_optimizer(trained: Trained, tensors: Tensors, values: Values) -> None:
    """What it remembers, and its rates; all else about it is the configuration's."""
    state: dict[int, dict[str, Any]] = {int(n): dict(s) for n, s in values["optimizer"].items()}
    for name, tensor in below(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    groups = trained.optimizer.state_dict()["param_groups"]
    for group, rate, betas in zip(groups, values["lr"], values["betas"], strict=True):
        if not (type(rate) is float and 0 < rate < math.inf):
            raise ValueError(f"a learning rate of {rate}")
        if len(betas) != 2 or not all(type(b) is float and 0 <= b < 1 for b in betas):
            raise ValueError(f"betas of {betas}")
        group["lr"] = rate * trained.lr_scale / values["lr_scale"]
        group["betas"] = tuple(betas)  # some schedulers cycle them
    trained.optimizer.load_state_dict({"param_groups": groups, "state": state})
    keys = {frozenset(held) for held in trained.optimizer.state.values()}
    wanted = sum(p.requires_grad for g in trained.optimizer.param_groups for p in g["params"])
    if len(keys) > 1 or len(trained.optimizer.state) not in (0, wanted):
        raise ValueError("an optimizer's state that lacks some parameters")
    if keys and not {"step", "exp_avg", "exp_avg_sq"} <= next(iter(keys)):
        raise ValueError("an optimizer's state that is not Adam's")
    for parameter, held in trained.optimizer.state.items():
        for key, value in held.items():
            if not isinstance(value, Tensor) or value.shape not in (parameter.shape, ()):
                raise ValueError(f"{key} of an optimizer that does not fit")
            # In the memory format of the parameter, for the speed of the uninterrupted run.
            if value.ndim:
                held[key] = torch.empty_like(parameter).copy_(value)


def _restore_common(trained: Trained, tensors: Tensors, values: Values) -> None:
    restore_memory(trained, {}, tensors, values)
    seconds = values["seconds"]
    if not isinstance(seconds, list) or not all(type(s) is float and s >= 0 for s in seconds):
        raise ValueError(f"seconds of training: {seconds}")
    trained.stopwatch.seconds = list(seconds)
    there = stateful(trained)
    if there.keys() != values["plugins"].keys():
        raise ValueError(f"plugins {list(values['plugins'])} instead of {list(there)}")
    for name, plugin in there.items():
        held = below(tensors, f"plugins.{name}.") | values["plugins"][name]
        plugin.load_state_dict(_placed(held, trained.device))
    trained.trained_on = values["trained_on"]
    for name in CLOCK:
        setattr(trained.clock, name, values["clock"][name])
    kind, keys, *rest = values["numpy"]
    if not 0 <= rest[0] <= 624:
        raise ValueError("a state of NumPy's generator that is none")
    version, words, gauss = values["python"]
    RandomState(
        (version, tuple(words), gauss),
        (kind, np.array(keys, dtype=np.uint32), *rest),
        below(tensors, "random."),
    ).set()


def _placed(values: Values, device: torch.device) -> Values:
    """With tensors on a device.

    Copies, as tensors that lie in a mapped file may not be aligned, which changes last digits.
    """
    return {k: v.to(device, copy=True) if isinstance(v, Tensor) else v for k, v in values.items()}


def _shapes(flat: Values) -> dict[str, list[int]]:
    return {name: list(t.shape) for name, t in flat.items() if isinstance(t, Tensor)}


def memory_bytes(trained: Trained, names: Sequence[str]) -> int | None:
    """The size of what is kept from the past, copies of the net's weights left out.

    That is, of what the strategies and their plugins remember between two experiences; None where
    a plugin does not tell.

    Args:
        trained: between two experiences.
        names: of the plain net's weights.
    """
    if without_state(trained):
        return None
    parts = [
        {name: value for name, value in own.items() if not _is_copy(value, set(names))}
        for own in trained.memory.values()
    ]
    kept = [flatten(part) for part in parts]
    kept += [plugin.state_dict() for plugin in stateful(trained).values()]
    tensors = [t for part in kept for t in part.values() if isinstance(t, Tensor)]
    others = [v for part in kept for v in part.values() if not isinstance(v, Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors) + len(json.dumps(others)) - 2


def _is_copy(value: Any, names: set[str]) -> bool:
    return isinstance(value, dict) and set(value) == names


def stateful(trained: Trained) -> dict[str, Any]:
    """The plugins that have a state to keep, by number and class."""
    return {
        f"{number}-{type(plugin).__name__}": plugin
        for number, plugin in enumerate(trained.plugins)
        if hasattr(plugin, "state_dict") and hasattr(plugin, "load_state_dict")
    }


def without_state(trained: Trained) -> list[str]:
    """The plugins that may remember something, but have no `state_dict`."""
    return [
        type(plugin).__name__
        for plugin in trained.plugins
        if not isinstance(plugin, STATELESS) and not hasattr(plugin, "state_dict") and vars(plugin)
    ]
