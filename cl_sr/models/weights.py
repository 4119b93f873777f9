"""Reading weights that others made: no code runs, nothing is read twice, every key is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cl_sr.errors import InputError, nearest
from cl_sr.models.foreign import check_kind, check_objects, is_safetensors, load_pickle

Net = TypeVar("Net", bound=nn.Module)
State = dict[str, Tensor]

# The beginning of a key that only this kind of checkpoint has, most telling first.
KINDS = {
    "denoise_fn.time_mlp.": "the public SR3 code's DDPM network (which_model_G: ddpm)",
    "denoise_fn.": "the public SR3 code's (denoise_fn.*)",
    "noise_level_mlp.": "SR3's U-Net",
    "model.diffusion_model.": "latent diffusion's (Stable Diffusion)",
    "out.2.positional_embedding": "a classifier of guided-diffusion",
    "label_emb.": "guided-diffusion's, class-conditional",
    "input_blocks.": "guided-diffusion's",
    "temb.dense.": "the DDPM CelebA-HQ kind (SDEdit)",
    "down_blocks.": "diffusers'",
    "exp_avg": "an optimizer's state",
    "conv_first.": "BasicSR's (a regression network)",
    "init_conv.": "denoising-diffusion-pytorch's",
    "layer1.0.conv1.": "a ResNet classifier",
}
# What wraps parts of one, anywhere in a name.
INNER_WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
# What the names in one of the nets begin with that can be read.
NETS = ({"input_blocks", "time_embed"}, {"down", "temb"}, {"downs", "noise_level_mlp"})


def kind_of(names: Iterable[str]) -> str:
    """What a checkpoint with tensors of these names looks: `like ...`, or `of an unknown kind`."""
    names = list(names)
    for mark, kind in KINDS.items():
        if any(name.startswith(mark) for name in names):
            return f"like {kind}"
    return f"of an unknown kind (it begins with {', '.join(names[:3]) or 'nothing'})"


def read_weights(path: Path) -> State:
    """The tensors of a checkpoint by name, mapped into memory where the format allows it.

    They are looked for in nested dicts (`state_dict`, `params_ema`, ...).

    Raises:
        InputError: no such file, one that is none of weights, a damaged one, or one that holds
            objects which could run code.
    """
    if not path.is_file():
        raise InputError(f"no file {path}")
    check_kind(path)
    if is_safetensors(path):
        try:
            state: State = load_file(path)
        # Damaged bytes make safetensors raise errors of many kinds.
        except Exception as error:
            raise InputError(
                f"{path} is damaged, cut short, or no file of safetensors "
                f"({type(error).__name__}: {error})"
            ) from error
    else:
        state = _inner(load_pickle(path))
        if not state:
            check_objects(path)
    if not state:
        raise InputError(f"{path} holds no weights by name")
    return state


def _inner(found: Any) -> State:
    """The first mapping of names to tensors in nested dicts and lists."""
    if isinstance(found, Mapping):
        tensors = {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, Tensor)}
        if any(tensor.ndim > 1 for tensor in tensors.values()):
            return tensors
        inner = [found[key] for key in sorted(found, key=_rank)]
    else:
        inner = list(found) if isinstance(found, list | tuple) else []
        # DDIM's training code saves [model, optimizer, epoch, step, moving average].
        if len(inner) > 1 and _names(inner[0]) and _names(inner[0]) == _names(inner[-1]):
            inner.reverse()
    return next((state for item in inner if (state := _inner(item))), {})


def _rank(key: Any) -> int:
    """Where to look first: a moving average, then what holds weights by its name."""
    if _is_average(key):
        return 0
    if "optim" in str(key).lower():
        return 3
    return 1 if key in ("state_dict", "model", "params") else 2


def unwrapped(state: State) -> tuple[State, State]:
    """The tensors of a net by its own names, and those beside it where it was wrapped.

    Around it may be `module.` (DataParallel), `_orig_mod.` (torch.compile), `ema_model.model.` (the
    moving average of a diffusion process around a net), `denoise_fn.` and others, in any order.
    What is beside a net are the buffers of the process around it, such as `betas`. Where none of
    the nets that are known is found, all tensors are given back.
    """
    plain = {_plain(name): tensor for name, tensor in state.items()}
    if len(plain) < len(state):
        return state, {}  # one net plain and compiled: the keys will be refused as surplus
    return _unwrapped(plain) or (plain, {})


def _plain(name: str) -> str:
    for wrapper in INNER_WRAPPERS:
        name = name.replace(wrapper, "")
    return name.removeprefix("module.")


def _unwrapped(state: State, deepest: int = 6) -> tuple[State, State] | None:
    begins = dict.fromkeys(name.split(".", 1)[0] for name in state)
    if any(marks <= begins.keys() for marks in NETS):
        return state, {}
    for begin in sorted(begins, key=lambda begin: not _is_average(begin)):
        if deepest and (found := _unwrapped(below(state, f"{begin}."), deepest - 1)):
            net, beside = found
            # Beside a moving average are the weights that it is of.
            others = {} if _is_average(begin) else without(state, f"{begin}.")
            return net, {**others, **beside}
    return None


def _is_average(name: Any) -> bool:
    return bool({"ema", "averaged", "shadow"} & set(str(name).lower().split("_")))


def below(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}


def without(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors whose names do not begin with `prefix`."""
    return {k: t for k, t in state.items() if not k.startswith(prefix)}


def _names(item: Any) -> set[Any]:
    return set(item) if isinstance(item, Mapping) else set()


def build(kind: Callable[..., Net], config: Mapping[str, Any], state: State, path: Path) -> Net:
    """A net without memory of its own that is handed the tensors of `state`, see `fill`.

    Args:
        kind: the net's class.
        config: its arguments.
        state: its weights by name.
        path: where they are from, for messages.

    Raises:
        InputError: arguments that make no net, or keys that are missing, surplus or misshapen.
    """
    try:
        with torch.device("meta"):
            net = kind(**config)
    # Arguments of any type may come from a file.
    except Exception as error:
        raise InputError(f"{path}: no such network can be built: {error}") from error
    fill(net, state, path)
    return net


def fill(net: nn.Module, state: State, path: Path) -> None:
    """Hand a net, which is on the meta device, its weights as float32.

    Raises:
        InputError: keys that are missing, surplus or misshapen.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    if whole := [name for name, tensor in state.items() if not tensor.is_floating_point()]:
        raise InputError(f"{path} holds weights that are no real numbers: {', '.join(whole)}")
    check_keys(wanted, state, path, f"{path} does not fit {type(net).__name__}")
    # The tensors stay where the file is mapped; those that a safetensors file puts at odd places
    # are moved, as kernels are slower there and round differently.
    aligned = {name: t if t.data_ptr() % 64 == 0 else t.clone() for name, t in state.items()}
    net.load_state_dict(aligned, assign=True)
    net.float()


def merged(
    inferred: Mapping[str, Any], overrides: Mapping[str, Any], known: Iterable[str], path: Path
) -> dict[str, Any]:
    """Arguments of a network with a user's own over them.

    Raises:
        InputError: an argument that is not `known`.
    """
    names = list(known)
    for name in overrides:
        if name not in names:
            raise InputError(f"{path}: the net has no argument {name!r}: {nearest(name, names)}")
    return {**inferred, **overrides}


def check_keys(
    wanted: Mapping[str, tuple[int, ...]], state: State, path: Path, message: str
) -> None:
    """Refuse weights whose names and shapes are not those wanted, listing what is wrong.

    Raises:
        InputError: missing, surplus or misshapen keys.
    """
    given = {name: tuple(tensor.shape) for name, tensor in state.items()}
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "surplus": sorted(given.keys() - wanted.keys()),
        "misshapen": [
            f"{name} {given[name]} instead of {wanted[name]}"
            for name in sorted(wanted.keys() & given.keys())
            if wanted[name] != given[name]
        ],
    }
    found = [
        f"{len(names)} {problem}: {', '.join(names)}"
        for problem, names in problems.items()
        if names
    ]
    if found:
        raise InputError(f"{message}: {'; '.join(found)}")
