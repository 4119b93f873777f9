"""Everything that the next iteration depends on, as tensors and JSON, and back."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from avalanche.training.plugins import EvaluationPlugin, FromScratchTrainingPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from torch import Tensor

from cl_sr.errors import InputError
from cl_sr.models.lora import adapted
from cl_sr.models.weights import below
from cl_sr.training.rng import RandomState

if TYPE_CHECKING:
    from cl_sr.training.template import SR3Template

FORMAT = 3
# Of what they remember, a state has all that matters by other ways.
STATELESS = (Clock, EvaluationPlugin, FromScratchTrainingPlugin, PeriodicEval)
CLOCK = ("train_iterations", "train_exp_counter", "train_exp_epochs", "train_exp_iterations",
         "train_epoch_iterations", "total_iterations")  # fmt: skip

Tensors = dict[str, Tensor]
Values = dict[str, Any]


def capture(template: SR3Template, random: RandomState) -> tuple[Tensors, Values]:
    """The state of a template between two iterations of an experience.

    The weights for inference are not in it: a checkpoint has them anyway. Where they are a moving
    average, the weights that are trained are `model.*`.

    Args:
        template: the state of which is taken.
        random: the generators as training left them.

    Returns:
        Tensors by name, and values that JSON holds.
    """
    tensors, values = capture_between(template, random)
    if template.ema is not None:
        tensors |= {f"model.{k}": t for k, t in template.model.state_dict().items()}
    if adapted(template.net):  # the weights for inference are merged ones
        trained: Any = template.model if template.ema is None else template.ema.module
        tensors |= {f"adapted.{k}": t for k, t in trained.state_dict().items()}
    optimizer = template.optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for number, state in optimizer["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            else:
                scalars.setdefault(str(number), {})[key] = value
    values |= {
        "experience_iteration": template.clock.train_exp_iterations,
        "ema_updates": None if template.ema is None else template.ema.updates,
        "lr": [group["lr"] for group in optimizer["param_groups"]],
        "betas": [list(group["betas"]) for group in optimizer["param_groups"]],
        "optimizer": scalars,
    }
    return tensors, values


def capture_between(template: SR3Template, random: RandomState) -> tuple[Tensors, Values]:
    """The state of a template between two experiences, where the optimizer starts anew."""
    tensors = {f"random.{device}": state for device, state in random.torch.items()}
    memory = flatten(template.memory)
    tensors |= {f"memory.{k}": v for k, v in memory.items() if isinstance(v, Tensor)}
    plugins: dict[str, Values] = {}
    for name, plugin in _stateful(template).items():
        plugins[name] = {}
        for key, value in plugin.state_dict().items():
            if isinstance(value, Tensor):
                tensors[f"plugins.{name}.{key}"] = value
            else:
                plugins[name][key] = value
    kind, keys, *rest = random.numpy
    version, words, gauss = random.python
    values = {
        "format": FORMAT,
        "iteration": template.clock.train_iterations,
        "experience": template.clock.train_exp_counter,
        "experience_iteration": 0,
        "trained_on": template.trained_on,
        "lr_scale": template.lr_scale,
        "seconds": template.seconds_so_far,
        "memory": {k: v for k, v in memory.items() if not isinstance(v, Tensor)},
        "memory_shapes": _shapes(memory),
        "clock": {name: getattr(template.clock, name) for name in CLOCK},
        "numpy": [kind, keys.tolist(), *rest],
        "python": [version, list(words), gauss],
        "without_state": _without_state(template),
        "plugins": plugins,
    }
    return tensors, values


def restore_between(
    template: SR3Template, weights: Tensors, tensors: Tensors, values: Values
) -> None:
    """Put a template where `capture_between` found one, before its next experience."""
    template.model.net.load_state_dict(weights)
    _restore_common(template, tensors, values)


def restore(template: SR3Template, weights: Tensors, tensors: Tensors, values: Values) -> None:
    """Put a template, whose experience has just begun, where `capture` found one.

    Args:
        template: made from the same configuration.
        weights: those for inference.
        tensors, values: from `capture`.

    Raises:
        KeyError, ValueError, RuntimeError, TypeError: they are not of such a template.
    """
    if adapted(template.net):
        inferring: Any = template.model if template.ema is None else template.ema.module
        inferring.load_state_dict(below(tensors, "adapted."))
    else:
        template.inference_net.load_state_dict(weights)
    if template.ema is not None:
        if values["ema_updates"] != values["experience_iteration"]:
            raise ValueError(f"a moving average of {values['ema_updates']} updates")
        template.ema.updates = values["ema_updates"]
        template.model.load_state_dict(below(tensors, "model."))
    _restore_optimizer(template, tensors, values)
    _restore_common(template, tensors, values)


def _restore_optimizer(template: SR3Template, tensors: Tensors, values: Values) -> None:
    """What it remembers, and its rates; all else about it is the configuration's."""
    state: dict[int, dict[str, Any]] = {int(n): dict(s) for n, s in values["optimizer"].items()}
    for name, tensor in below(tensors, "optimizer.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    groups = template.optimizer.state_dict()["param_groups"]
    for group, rate, betas in zip(groups, values["lr"], values["betas"], strict=True):
        if not (type(rate) is float and 0 < rate < math.inf):
            raise ValueError(f"a learning rate of {rate}")
        if len(betas) != 2 or not all(type(b) is float and 0 <= b < 1 for b in betas):
            raise ValueError(f"betas of {betas}")
        group["lr"] = rate * template.lr_scale / values["lr_scale"]
        group["betas"] = tuple(betas)  # some schedulers cycle them
    template.optimizer.load_state_dict({"param_groups": groups, "state": state})
    keys = {frozenset(held) for held in template.optimizer.state.values()}
    trained = sum(p.requires_grad for g in template.optimizer.param_groups for p in g["params"])
    if len(keys) > 1 or len(template.optimizer.state) not in (0, trained):
        raise ValueError("an optimizer's state that lacks some parameters")
    if keys and not {"step", "exp_avg", "exp_avg_sq"} <= next(iter(keys)):
        raise ValueError("an optimizer's state that is not Adam's")
    for parameter, held in template.optimizer.state.items():
        for key, value in held.items():
            if not isinstance(value, Tensor) or value.shape not in (parameter.shape, ()):
                raise ValueError(f"{key} of an optimizer that does not fit")
            # In the memory format of the parameter, for the speed of the uninterrupted run.
            if value.ndim:
                held[key] = torch.empty_like(parameter).copy_(value)


def restore_memory(
    template: SR3Template, weights: Tensors, tensors: Tensors, values: Values
) -> None:
    """Put back what the strategies remember, before the model is adapted to an experience."""
    flat = below(tensors, "memory.") | values["memory"]
    if _shapes(flat) != values["memory_shapes"]:
        raise ValueError("not all that the strategies remember is there")
    template.memory = unflatten(_placed(flat, template))


def _placed(values: Values, template: SR3Template) -> Values:
    """With tensors on the template's device.

    Copies, as tensors that lie in a mapped file may not be aligned, which changes last digits.
    """
    return {
        k: v.to(template.device, copy=True) if isinstance(v, Tensor) else v
        for k, v in values.items()
    }


def _shapes(flat: Values) -> dict[str, list[int]]:
    return {name: list(t.shape) for name, t in flat.items() if isinstance(t, Tensor)}


def check_memory(memory: Values) -> None:
    """Refuse what could not be saved, when it is remembered and not only when it is saved.

    Raises:
        InputError: with the strategy and the name.
    """
    for part, own in memory.items():
        for name, value in own.items():
            inner = value.items() if isinstance(value, dict) else [("", value)]
            for key, held in inner:
                where = f"strategy {part.split('-', 1)[1]}: memory[{name!r}]"
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


def memory_bytes(template: SR3Template) -> int | None:
    """The size of what is kept from the past, copies of the net's weights left out.

    That is, of what the strategies and their plugins remember between two experiences; None where
    a plugin does not tell.
    """
    if _without_state(template):
        return None
    names = set(template.plain_names)
    parts = [
        {name: value for name, value in own.items() if not _is_copy(value, names)}
        for own in template.memory.values()
    ]
    kept = [flatten(part) for part in parts]
    kept += [plugin.state_dict() for plugin in _stateful(template).values()]
    tensors = [t for part in kept for t in part.values() if isinstance(t, Tensor)]
    others = [v for part in kept for v in part.values() if not isinstance(v, Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors) + len(json.dumps(others)) - 2


def _is_copy(value: Any, names: set[str]) -> bool:
    return isinstance(value, dict) and set(value) == names


def flatten(memory: Values, prefix: str = "") -> Values:
    """Nested dictionaries as one, with names joined by `/`."""
    flat: Values = {}
    for name, value in memory.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Values) -> Values:
    """The inverse of `flatten`, but for empty dictionaries."""
    memory: Values = {}
    for name, value in flat.items():
        *parents, last = name.split("/")
        place = memory
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return memory


def _restore_common(template: SR3Template, tensors: Tensors, values: Values) -> None:
    restore_memory(template, {}, tensors, values)
    seconds = values["seconds"]
    if not isinstance(seconds, list) or not all(type(s) is float and s >= 0 for s in seconds):
        raise ValueError(f"seconds of training: {seconds}")
    template.seconds = list(seconds)
    stateful = _stateful(template)
    if stateful.keys() != values["plugins"].keys():
        raise ValueError(f"plugins {list(values['plugins'])} instead of {list(stateful)}")
    for name, plugin in stateful.items():
        held = below(tensors, f"plugins.{name}.") | values["plugins"][name]
        plugin.load_state_dict(_placed(held, template))
    template.trained_on = values["trained_on"]
    for name in CLOCK:
        setattr(template.clock, name, values["clock"][name])
    kind, keys, *rest = values["numpy"]
    if not 0 <= rest[0] <= 624:
        raise ValueError("a state of NumPy's generator that is none")
    version, words, gauss = values["python"]
    RandomState(
        (version, tuple(words), gauss),
        (kind, np.array(keys, dtype=np.uint32), *rest),
        below(tensors, "random."),
    ).set()


def _stateful(template: SR3Template) -> dict[str, Any]:
    """The plugins that have a state to keep, by number and class."""
    return {
        f"{number}-{type(plugin).__name__}": plugin
        for number, plugin in enumerate(template.plugins)
        if hasattr(plugin, "state_dict") and hasattr(plugin, "load_state_dict")
    }


def _without_state(template: SR3Template) -> list[str]:
    """The plugins that may remember something, but have no `state_dict`."""
    return [
        type(plugin).__name__
        for plugin in template.plugins
        if not isinstance(plugin, STATELESS) and not hasattr(plugin, "state_dict") and vars(plugin)
    ]
