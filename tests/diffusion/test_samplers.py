"""Samplers against an exact denoiser: that of a Gaussian, whose posterior is known."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_sr.diffusion import SAMPLERS, Denoiser, NoiseSchedule, Parametrization, sample
from cl_sr.diffusion.samplers import walk

MEAN, STD = 0.2, 0.1


def gaussian(noisy: Tensor, _: Tensor | None, level: Tensor) -> Tensor:
    """The exact noise estimate where images are N(MEAN, STD^2) in every pixel."""
    gamma = float(level[0].double() ** 2)
    variance = gamma * STD**2 + 1 - gamma
    x0 = MEAN + math.sqrt(gamma) * STD**2 / variance * (noisy - math.sqrt(gamma) * MEAN)
    return (noisy - math.sqrt(gamma) * x0) / math.sqrt(1 - gamma)


EXACT = Denoiser(gaussian, Parametrization())


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_ancestral_has_the_distribution_it_was_trained_on(variance: Any) -> None:
    torch.manual_seed(0)
    images = sample(EXACT, None, NoiseSchedule.linear(), variance=variance, shape=(16, 3, 32, 32))
    assert float(images.mean()) == pytest.approx(MEAN, abs=2e-3)
    assert float(images.std()) == pytest.approx(STD, rel=0.03)


def test_ddim_converges_to_the_exact_flow_with_first_order() -> None:
    # The probability flow of a Gaussian moves each quantile to the same quantile.
    start = torch.linspace(-2, 2, 3 * 64).reshape(1, 3, 8, 8)
    schedule = NoiseSchedule.linear(2000)
    gamma = float(schedule.gammas[-1])
    exact = MEAN + STD * (start - gamma**0.5 * MEAN) / (gamma * STD**2 + 1 - gamma) ** 0.5
    errors = [
        float((sample(EXACT, None, schedule, "ddim", n, start=start) - exact).abs().max())
        for n in (500, 1000, 2000)
    ]
    assert errors[2] < 2e-3
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.1)


def exact_flow(start: Tensor, now: float, then: float) -> Tensor:
    """Where the probability flow of the Gaussian takes noisy images, from gamma to gamma."""
    before, after = (math.sqrt(g * STD**2 + 1 - g) for g in (now, then))
    return math.sqrt(then) * MEAN + after / before * (start - math.sqrt(now) * MEAN)


def follow(sampler: str, gammas: list[float], start: Tensor) -> Tensor:
    def predict(k: int, y: Tensor) -> tuple[Tensor, Tensor]:
        gamma = gammas[k]
        epsilon = gaussian(y, None, torch.tensor([gamma], dtype=torch.float64).sqrt())
        return (y - math.sqrt(1 - gamma) * epsilon) / math.sqrt(gamma), epsilon

    return walk(SAMPLERS[sampler], predict, start, gammas, lambda k: torch.zeros_like(start))


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp-2m", 2), ("unipc", 3)])
def test_order_of_convergence(sampler: str, order: int) -> None:
    """Between two noise levels, at steps of equal log-SNR; the error falls as steps^-order."""
    start = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)
    errors = []
    for steps in (40, 80, 160):
        snr = torch.linspace(-4, 4, steps + 1, dtype=torch.float64).exp()
        gammas = (snr / (1 + snr)).tolist()
        exact = exact_flow(start, gammas[0], gammas[-1])
        errors.append(float((follow(sampler, gammas, start) - exact).abs().max()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.3)


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "unipc"])
def test_down_to_clean_images_they_are_nearer_than_ddim(sampler: str) -> None:
    """The trained schedule, respaced, down to gamma = 1."""
    start = torch.linspace(-2, 2, 3 * 64, dtype=torch.float64).reshape(1, 3, 8, 8)
    schedule = NoiseSchedule.linear(2000)
    exact = exact_flow(start, float(schedule.gammas[-1]), 1.0)

    def error(name: str, steps: int) -> float:
        images = sample(EXACT, None, schedule, name, steps, start=start, clip=False)
        return float((images - exact).abs().max())

    assert error(sampler, 80) < error("ddim", 80) / 2
    assert error(sampler, 160) < error("ddim", 160) / 5
    assert error(sampler, 2000) < error("ddim", 2000) / 5


@pytest.mark.parametrize("sampler", ["dpmpp-2m", "unipc"])
def test_the_same_steps_as_diffusers(sampler: str) -> None:
    """A second library, over the same noise levels, with a net that is not linear."""
    diffusers = pytest.importorskip("diffusers")
    options = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 2e-2}
    scheduler = {
        "dpmpp-2m": lambda: diffusers.DPMSolverMultistepScheduler(
            **options, solver_order=2, final_sigmas_type="sigma_min", lower_order_final=False
        ),
        "unipc": lambda: diffusers.UniPCMultistepScheduler(
            **options, solver_order=2, final_sigmas_type="sigma_min", lower_order_final=False
        ),
    }[sampler]()
    scheduler.set_timesteps(12)
    gammas = [1 / (1 + float(sigma) ** 2) for sigma in scheduler.sigmas]
    start = torch.linspace(-2, 2, 48, dtype=torch.float64).reshape(1, 3, 4, 4)

    def epsilon(y: Tensor) -> Tensor:
        return torch.tanh(y) + 0.1 * y.flip(-1)

    theirs = start
    for t in scheduler.timesteps:
        theirs = scheduler.step(epsilon(theirs), t, theirs).prev_sample

    def predict(k: int, y: Tensor) -> tuple[Tensor, Tensor]:
        noise = epsilon(y)
        return (y - math.sqrt(1 - gammas[k]) * noise) / math.sqrt(gammas[k]), noise

    ours = walk(SAMPLERS[sampler], predict, start, gammas, lambda k: start)
    assert float((ours - theirs).abs().max()) < 1e-4 * float(theirs.abs().max())


def test_ddim_with_eta_1_over_all_steps_is_ancestral() -> None:
    noises = torch.randn(500, 1, 3, 4, 4)
    schedule, start = NoiseSchedule.linear(500, 1e-4, 4e-2), torch.randn(1, 3, 4, 4)
    a, b = (
        sample(EXACT, None, schedule, name, start=start, noises=noises, eta=1.0)
        for name in ("ancestral", "ddim")
    )
    assert torch.allclose(a, b, atol=1e-5)


def bold(noisy: Tensor, _: Tensor | None, level: Tensor) -> Tensor:
    """Noise estimates whose clean estimates are far outside [-1, 1] in many places."""
    return 0.3 * noisy.flip(-1) - 0.4 * noisy


@pytest.mark.parametrize("steps", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("target", ["image", "residual"])
def test_ddim_with_eta_1_is_ancestral_where_estimates_are_clipped(steps: int, target: Any) -> None:
    torch.manual_seed(0)
    noises, start = torch.randn(steps, 2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    denoiser, condition = Denoiser(bold, Parametrization("epsilon", target)), torch.rand(2, 3, 4, 4)
    clipped: list[float] = []

    def look(state: dict[str, Any]) -> None:
        clipped.append(float((state["x0"].abs() == 1).float().mean()))

    def draw(sampler: str, **options: Any) -> Tensor:
        return sample(
            denoiser, condition, NoiseSchedule.linear(), sampler, steps, start=start,
            noises=noises, callback=look, **options,
        )  # fmt: skip

    ancestral = draw("ancestral")
    assert max(clipped) > 0.2
    assert torch.allclose(draw("ddim", eta=1.0), ancestral, atol=1e-4)
    if steps > 1:
        kept = draw("ddim", eta=1.0, rederive=False)
        assert float((kept - ancestral).abs().max()) > 0.01


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("rederive", [False, True])
def test_ddim_is_diffusers_with_the_noise_of_a_clipped_estimate(eta: float, rederive: bool) -> None:
    """A second library: its `use_clipped_model_output`."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(
        12, beta_start=1e-3, beta_end=0.3, clip_sample=True, set_alpha_to_one=True
    )
    scheduler.set_timesteps(12)
    torch.manual_seed(0)
    noises, start = torch.randn(12, 1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    theirs = start
    for k, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(
            bold(theirs, None, start), t, theirs, eta=eta, use_clipped_model_output=rederive,
            variance_noise=noises[k] if eta else None,
        ).prev_sample  # fmt: skip
    ours = sample(
        Denoiser(bold, Parametrization()), None, NoiseSchedule.linear(12, 1e-3, 0.3), "ddim",
        start=start, noises=noises, eta=eta, rederive=rederive,
    )  # fmt: skip
    assert torch.allclose(ours, theirs.clamp(-1, 1), atol=1e-5)


def test_without_eta_the_noise_is_the_nets_unless_told() -> None:
    start, schedule = torch.randn(1, 3, 4, 4), NoiseSchedule.linear(10, 1e-3, 0.3)
    denoiser = Denoiser(bold, Parametrization())
    plain, kept, derived = (
        sample(denoiser, None, schedule, "ddim", start=start, rederive=rederive)
        for rederive in (None, False, True)
    )
    assert torch.equal(plain, kept)
    assert not torch.allclose(plain, derived, atol=0.01)


def test_an_image_does_not_depend_on_its_batch() -> None:
    schedule = NoiseSchedule.linear(20, 1e-3, 0.3)
    condition = torch.rand(3, 3, 4, 4)
    together = sample(EXACT, condition, schedule, seeds=[5, 6, 7])
    alone = sample(EXACT, condition[1:2], schedule, seeds=[6])
    assert torch.equal(together[1:2], alone)


def test_seeds_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    sample(EXACT, torch.zeros(1, 3, 4, 4), NoiseSchedule.linear(5), seeds=[1])
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_residual_models_are_sampled_around_their_condition(prediction: Any) -> None:
    """A net that knows the residual (0.04 everywhere) ends at condition + residual."""
    parametrization = Parametrization(prediction, "residual", residual_scale=5.0)

    def net(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        diffused = torch.full_like(noisy, 0.2)
        level4 = level[:, None, None, None]
        noise = (noisy - level4 * diffused) / (1 - level4**2).sqrt()
        return parametrization.output(diffused, noise, level)

    condition = torch.rand(2, 3, 4, 4) - 0.5
    denoiser = Denoiser(net, parametrization)
    for sampler in SAMPLERS:
        out = sample(denoiser, condition, NoiseSchedule.linear(), sampler, 10, seeds=[1, 2])
        assert torch.allclose(out, condition + 0.04, atol=1e-4)


def test_clip_keeps_images_in_range() -> None:
    def far(noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
        return -10 * torch.ones_like(noisy)

    schedule, condition = NoiseSchedule.linear(10, 1e-2, 0.5), torch.zeros(1, 3, 2, 2)
    denoiser = Denoiser(far, Parametrization())
    assert float(sample(denoiser, condition, schedule, "ddim").max()) <= 1
    assert float(sample(denoiser, condition, schedule, "ddim", clip=False).max()) > 1


def test_callback_sees_every_step() -> None:
    seen: list[int] = []
    sample(
        EXACT,
        torch.zeros(1, 3, 2, 2),
        NoiseSchedule.linear(10, 1e-3, 0.5),
        "ddim",
        5,
        callback=lambda state: seen.append(state["t"]),
    )
    assert seen == [10, 8, 6, 4, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "euler"}, "unknown sampler"),
        ({"steps": 11}, r"1\.\.10"),
        ({"seeds": [1, 2]}, "2 seeds for 1 images"),
        ({"noises": torch.zeros(3, 1, 3, 2, 2)}, "3 recorded noises for 10 steps"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(EXACT, torch.zeros(1, 3, 2, 2), NoiseSchedule.linear(10), **arguments)


def test_without_any_shape_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="shape"):
        sample(EXACT, None, NoiseSchedule.linear(10))


def test_a_net_is_not_sampled_from() -> None:
    """Of a net that predicts v, or residuals, its answer would be taken for noise in an image."""

    class Net(torch.nn.Module):
        def forward(self, noisy: Tensor, condition: Tensor | None, level: Tensor) -> Tensor:
            return noisy

    class Autoencoder(Net):
        encode = decode = Net.forward

    condition, schedule = torch.zeros(1, 3, 4, 4), NoiseSchedule.linear(5)
    net: Any = Net()
    for wrong in (net, net.forward, Autoencoder(), torch.nn.DataParallel(net), gaussian, None):
        with pytest.raises(TypeError, match=r"Denoiser\(net, Parametrization"):
            sample(wrong, condition, schedule)
    assert sample(Denoiser(net, Parametrization()), condition, schedule).shape == condition.shape
    with pytest.raises(ValueError, match="needs the schedule"):
        sample(Denoiser(net, Parametrization()), condition)
