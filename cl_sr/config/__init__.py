"""The configuration of a run: its schema, keys, presets, overrides, and errors that help."""

from cl_sr.config.keys import (
    check_key,
    key_names,
    keys,
    pick,
    put,
    put_all,
    put_data,
    resolve,
    split_override,
)
from cl_sr.config.presets import (
    DEFAULT_PRESET,
    PRESETS,
    presets,
    read_preset,
    shipped_sweeps,
)
from cl_sr.config.schema import EvalConfig, RunConfig, budgets

__all__ = [
    "DEFAULT_PRESET",
    "PRESETS",
    "EvalConfig",
    "RunConfig",
    "budgets",
    "check_key",
    "key_names",
    "keys",
    "pick",
    "presets",
    "put",
    "put_all",
    "put_data",
    "read_preset",
    "resolve",
    "shipped_sweeps",
    "split_override",
]
