"""The model of a run: built anew from the configuration, or read from a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cl_sr.config import RunConfig
from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.errors import InputError
from cl_sr.image_size import sides, spelled
from cl_sr.models import Model, load_prior, read_model
from cl_sr.models.checkpoint import describe
from cl_sr.models.family import find_family
from cl_sr.models.places import weights_at
from cl_sr.runs.plan import Plan, check_fit, check_steps
from cl_sr.strategies import ZeroShot


def make_model(plan: Plan) -> Model:
    """What a run trains: with random weights from torch's global generator, or those of a file.

    Raises:
        InputError: what the configuration names cannot be built or read, or does not fit.
    """
    config, zero_shot = plan.config, plan.strategy.traits.zero_shot
    if config.init is not None:
        model = _read(config)
    elif zero_shot is not None and zero_shot.prior:
        model = _prior(config, zero_shot)
    else:
        model = build_model(config, conditional=zero_shot is None)
    check_steps(plan, model.schedule.steps)
    shapes = {name: tuple(t.shape) for name, t in model.net.state_dict().items()}
    plan.strategy.check(model.schedule.steps, shapes)
    return model


def build_model(config: RunConfig, conditional: bool = True) -> Model:
    """A model with random weights.

    Raises:
        InputError: keys that make no net.
    """
    family = find_family(config.model.family)
    parametrization = Parametrization(
        config.diffusion.prediction,
        config.diffusion.target if conditional else "image",
        config.diffusion.residual_scale,
    )
    try:
        data = config.data
        architecture = family.arguments(config.model, data.size, conditional, data.channels)
        return family.model(
            architecture,
            schedule=_schedule(config),
            parametrization=parametrization,
            conditional=conditional,
            scale=config.data.scale,
            family=config.model.family,
            title=family.title,
        )
    except ValueError as error:
        raise InputError(f"the keys model.* make no net: {error}") from error


def _schedule(config: RunConfig) -> NoiseSchedule:
    diffusion = config.diffusion
    try:
        if diffusion.schedule == "cosine":
            return NoiseSchedule.cosine(diffusion.steps)
        return NoiseSchedule.linear(diffusion.steps, diffusion.start, diffusion.end)
    except ValueError as error:
        raise InputError(f"the keys diffusion.* make no noise schedule: {error}") from error


def _read(config: RunConfig) -> Model:
    """The model of `config.init`; what its file does not tell comes from the configuration.

    That is, for weights of the public SR3 code, `model.norm_groups` and `model.dropout`, and for a
    bare state dict the noise schedule too.
    """
    path = weights_at(str(config.init))
    keys: dict[str, Any] = config.model.model_dump()
    unknown = {name: keys[name] for name in ("dropout",) if name in keys}
    if path.is_file():  # others' files tell less than ours
        unknown |= {"norm_groups": keys.get("norm_groups", 32), "image_size": config.data.size}
    model = read_model(path, schedule=_schedule(config), **unknown)
    check_fit(config, describe(model))
    return replace(model, title=f"{model.title} from {config.init}", scale=config.data.scale)


def _prior(config: RunConfig, zero_shot: ZeroShot) -> Model:
    prior = load_prior(zero_shot.prior, **zero_shot.arguments)
    if any(side % prior.multiple for side in sides(config.data.size)):
        raise InputError(
            f"the prior {zero_shot.prior} needs image sizes that are multiples of "
            f"{prior.multiple}, and data.size={spelled(config.data.size)} is none"
        )
    if prior.channels != config.data.channels:
        raise InputError(
            f"the prior {zero_shot.prior} is for images of {prior.channels} channels, and this "
            f"run is at data.channels={config.data.channels}: set data.channels={prior.channels}"
        )
    return Model(
        prior,
        prior.schedule,
        conditional=False,
        scale=config.data.scale,
        family="prior",
        title=f"prior {zero_shot.prior}",
    )


def describe_model(config: RunConfig, model: Model) -> RunConfig:
    """The configuration with the architecture and schedule of a model that was read from a file."""
    family = find_family(model.family)
    keys = family.keys.model_validate(
        {"family": model.family, **family.keys_of(model.architecture)}
    )
    diffusion = {
        "schedule": "init",
        "steps": model.schedule.steps,
        "prediction": model.parametrization.prediction,
        "target": model.parametrization.target,
        "residual_scale": model.parametrization.residual_scale,
    }
    return config.model_copy(
        update={"model": keys, "diffusion": config.diffusion.model_copy(update=diffusion)}
    )
