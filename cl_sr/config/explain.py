"""What pydantic finds wrong in a configuration, in one line with the remedy."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from cl_sr.errors import InputError


def checked(
    model: type[BaseModel],
    values: Mapping[str, Any],
    prefix: str = "",
    context: dict[str, Any] | None = None,
) -> Any:
    """Values as a section.

    Args:
        model: the section.
        values: of its keys.
        prefix: of the section's keys, such as `model.`.
        context: see `pydantic.BaseModel.model_validate`.

    Raises:
        InputError: an unknown key (with the nearest valid one), or a wrong type or value.
    """
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        raise InputError(explain(error, model, prefix)) from error


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a section with its field (annotation, default, description), nested ones too."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields_of(annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


def nearest_key(key: str, known: list[str]) -> str:
    """A remedy for a key that is none."""
    # `iterations` should find `train.iterations`.
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    match = same_end or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]!r}?"
    return "`cl-sr list keys` shows all"


def explain(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """The first thing wrong, in one line."""
    first = error.errors()[0]
    told = first.get("ctx", {}).get("error")
    if isinstance(told, InputError):  # of a validator of ours, which names what it is about
        return str(told)
    leaves = dict(fields_of(model, prefix))
    where = [part for part in prefix.split(".") if part] + [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        key = ".".join(where)
        return f"unknown key {key!r}: {nearest_key(key, list(leaves))}"
    # Members of a list or a union add their number or type to the location.
    while len(where) > 1 and ".".join(where) not in leaves:
        where.pop()
    key = ".".join(where)
    message = first["msg"].removeprefix("Value error, ")
    if key not in leaves and first["type"] == "value_error":
        return message  # of a whole section, and names its keys
    # A union tries its members in turn; the first one's complaint is not the whole truth.
    if first["type"] == "literal_error":
        message = f"choose {first['ctx']['expected']}"
    elif key in leaves and typing.get_args(leaves[key].annotation):
        message = "has the wrong type or value"
    shown = repr(first["input"])
    shown = shown if len(shown) <= 60 else shown[:60] + "..."
    return f"{key}={shown}: {message[:1].lower()}{message[1:]} (`cl-sr list keys` tells each key)"
