"""How a prior was trained, where its file does not tell: what is given, and what is assumed.

Told without torch, by the names of guided-diffusion and diffusers.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from cl_sr.diffusion.times import check_schedule
from cl_sr.errors import InputError, nearest

# By their own names and those of others.
NAMES = {
    "noise_schedule": "noise_schedule",
    "schedule": "noise_schedule",
    "beta_schedule": "noise_schedule",
    "diffusion_steps": "diffusion_steps",
    "num_train_timesteps": "diffusion_steps",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "prediction": "prediction",
    "prediction_type": "prediction",
    "predict_xstart": "prediction",
    "rescale_timesteps": "rescale_timesteps",
}
SCHEDULES = {
    "linear": "linear",
    "cosine": "cosine",
    "squaredcos_cap_v2": "cosine",
    "scaled_linear": "scaled_linear",
    "quad": "scaled_linear",
}
PREDICTIONS = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v",
    "v_prediction": "v",
    "x0": "x0",
    "sample": "x0",
    True: "x0",  # predict_xstart
    False: "epsilon",
}
MOST_STEPS = 100_000


@dataclass(frozen=True)
class TrainingNoise:
    """How the noise was that a net was trained with; None: not told.

    Attributes:
        noise_schedule: of the betas: `linear`, `cosine` (Nichol and Dhariwal) or `scaled_linear`
            (linear square roots).
        diffusion_steps: T.
        beta_start, beta_end: the first and the last beta, where the schedule is not `cosine`.
        prediction: what the net answers: `epsilon`, `v` or `x0`.
        rescale_timesteps: whether the net was told `t * 1000 / T` for `t` (improved-diffusion); of
            a usual one, None: its nets are told otherwise.
    """

    noise_schedule: str | None = None
    diffusion_steps: int | None = None
    beta_start: float | None = None
    beta_end: float | None = None
    prediction: str | None = None
    rescale_timesteps: bool | None = None

    @property
    def of_schedule(self) -> list[str]:
        """The names of what is told of the schedule."""
        given = asdict(self)
        names = ("noise_schedule", "diffusion_steps", "beta_start", "beta_end")
        return [name for name in names if given[name] is not None]

    def over(self, usual: TrainingNoise, known: set[str]) -> tuple[TrainingNoise, str]:
        """What is told over what is usual, and in words what of it is assumed.

        Args:
            usual: of the kind of file.
            known: the names of what the file itself tells.

        Raises:
            InputError: they make no schedule.
        """
        mine, theirs = asdict(self), asdict(usual)
        if self.rescale_timesteps is not None and usual.rescale_timesteps is None:
            raise InputError("rescale_timesteps: this net is told no time-steps, leave it out")
        values = {name: theirs[name] if mine[name] is None else mine[name] for name in mine}
        whole = TrainingNoise(**values)
        unused = {"beta_start", "beta_end"} if whole.noise_schedule == "cosine" else set()
        if "noise_schedule" not in known:
            whole.check()
        assumed = {
            name: value
            for name, value in values.items()
            if mine[name] is None and name not in known | unused | {"rescale_timesteps"}
        }
        return whole, " ".join(f"{name}={value}" for name, value in assumed.items())

    def check(self) -> None:
        """Refuse numbers that make no noise schedule.

        Raises:
            InputError: they do not.
        """
        kind, steps = self.noise_schedule or "linear", self.diffusion_steps or 1000
        start, end = self.beta_start or 1e-4, self.beta_end or 2e-2
        try:
            check_schedule(kind, steps, start, end)
        except ValueError as error:
            numbers = "" if kind == "cosine" else f" beta_start={start} beta_end={end}"
            raise InputError(
                f"noise_schedule={kind} diffusion_steps={steps}{numbers} make no noise schedule: "
                f"{error}"
            ) from error


def split_arguments(arguments: Mapping[str, Any]) -> tuple[TrainingNoise, dict[str, Any]]:
    """What is told of the noise, and the other arguments.

    Raises:
        InputError: a value that is none, or one that is given by two names.
    """
    told: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for given, value in arguments.items():
        name = NAMES.get(given)
        if name is None:
            if near := difflib.get_close_matches(given, NAMES, n=1, cutoff=0.85):
                raise InputError(f"there is no argument {given!r}: did you mean {near[0]!r}?")
            rest[given] = value
            continue
        if name in told:
            raise InputError(f"{given} is given twice: it is {name}, by another name")
        told[name] = _value(given, name, value)
    return TrainingNoise(**told), rest


def _value(given: str, name: str, value: Any) -> Any:
    choices = {"noise_schedule": SCHEDULES, "prediction": PREDICTIONS}.get(name)
    if choices is not None:
        texts = cast("dict[Any, str]", choices)
        of_flag = given == "predict_xstart"
        if isinstance(value, bool) == of_flag and isinstance(value, bool | str) and value in texts:
            return texts[value]
        if of_flag:
            raise InputError(f"{given}={value!r} must be true or false")
        known = [key for key in texts if isinstance(key, str)]
        raise InputError(f"{given}={value!r}: {nearest(str(value), known)}")
    if name == "rescale_timesteps":
        if not isinstance(value, bool):
            raise InputError(f"{given}={value!r} must be true or false")
        return value
    whole = name == "diffusion_steps"
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise InputError(f"{given}={value!r} is no {'whole ' if whole else ''}number")
    least, most = (1, MOST_STEPS) if whole else (0, 1)
    if not least <= value <= most or value == 0:
        raise InputError(f"{given}={value!r} must be in {least}..{most}")
    return value if whole else float(value)


def assumption(path: Path, assumed: str) -> str:
    """One line that says what is assumed of a file, and how to say otherwise."""
    other = "noise_schedule=cosine diffusion_steps=4000"
    if "_" not in assumed:
        other = "prediction=v"
    return (
        f"{path} does not tell how its net was trained: {assumed} "
        f"{'are' if ' ' in assumed else 'is'} assumed; if it was another way, say so, as in {other}"
    )
