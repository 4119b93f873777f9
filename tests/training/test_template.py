"""The template as Avalanche's users would use it: their plugins, loggers and streams."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin

from cl_sr.avalanche import EvaluationPlugin, SupervisedPlugin
from cl_sr.benchmarks import find_stream
from cl_sr.data.prepare import load_domain
from cl_sr.degradations import Bicubic
from cl_sr.diffusion import NoiseSchedule, Parametrization, Sampling
from cl_sr.evaluation.metrics import build_metrics
from cl_sr.models import Model, SR3UNet
from cl_sr.strategies import compose
from cl_sr.training.metrics import DomainQuality
from cl_sr.training.rng import isolated_rng, seed_everything
from cl_sr.training.settings import Evaluation, Optimization
from cl_sr.training.template import DiffusionTemplate


@pytest.fixture(scope="module")
def benchmark() -> Any:
    stream = find_stream("celeba-anime")
    data = {
        domain.name: load_domain(domain, None, size=16, scale=4, standin_images=20, split_seed=0)
        for domain in stream.domains
    }
    return stream.benchmark(data, Bicubic(4), test_images=3)


def template(
    benchmark: Any, *, every: int = 0, evaluated: bool = True, ema: float = 0.9, clip: float = 1.0,
    bf16: bool = False, **changes: Any,
) -> DiffusionTemplate:  # fmt: skip
    seed_everything(0)
    net = SR3UNet(
        inner_channel=8,
        norm_groups=4,
        channel_mults=(1,),
        attn_res=(),
        res_blocks=1,
        image_size=16,
        dropout=0.1,
    )
    settings: dict[str, Any] = {
        "model": Model(net, NoiseSchedule.linear(100, 1e-4, 0.1), Parametrization("v", "residual")),
        "degradation": Bicubic(4),
        "iterations": [5, 4],
        "optimization": Optimization(batch_size=4, lr=1e-3, ema=ema, clip=clip, bf16=bf16),
        "evaluation": Evaluation(
            benchmark.test_stream if evaluated else (), every, sampling=Sampling("ddim", 2)
        ),
    }
    return DiffusionTemplate(**(settings | changes))


def train(benchmark: Any, **changes: Any) -> DiffusionTemplate:
    trained = template(benchmark, **changes)
    for experience in benchmark.train_stream:
        trained.train(experience)
    return trained


def weights(trained: DiffusionTemplate) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.model.parameters()])


class Watch(SupervisedPlugin):
    """Notes the size of every batch, and when evaluations happen."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.evaluations: list[int] = []
        self.experiences: list[int] = []

    def before_training_exp(self, template: Any, **kwargs: Any) -> None:
        self.experiences.append(0)

    def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
        self.batches.append(len(template.mb_x))
        self.experiences[-1] += 1

    def before_eval(self, template: Any, **kwargs: Any) -> None:
        self.evaluations.append(template.clock.train_iterations)


def test_the_budget_and_the_evaluations_are_exact(benchmark: Any) -> None:
    watch = Watch()
    train(benchmark, plugins=[watch], every=2)
    assert watch.experiences == [5, 4]
    assert watch.batches == [4] * 9
    assert watch.evaluations == [0, 2, 4, 5, 7, 9]


def test_the_budget_holds_when_a_plugin_swaps_the_loader(benchmark: Any) -> None:
    watch = Watch()
    train(benchmark, plugins=[ReplayPlugin(mem_size=6), watch], iterations=[5, 30])
    assert watch.experiences == [5, 30]
    assert set(watch.batches[5:]) - {4}  # replayed images came on top


def test_evaluation_never_disturbs_training(benchmark: Any) -> None:
    often = train(benchmark, every=1)
    never = train(benchmark, evaluated=False)
    assert torch.equal(weights(often), weights(never))


def test_without_a_moving_average_evaluation_leaves_the_modes_alone(benchmark: Any) -> None:
    """Dropout would be switched off by a forgotten .eval()."""
    often = train(benchmark, every=1, ema=0)
    never = train(benchmark, evaluated=False, ema=0)
    assert torch.equal(weights(often), weights(never))


def test_isolated_generators(benchmark: Any) -> None:
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), float(torch.rand(()))  # noqa: NPY002

    seed_everything(1)
    expected = draw()
    seed_everything(1)
    with isolated_rng():
        draw()
    assert draw() == expected


def test_the_moving_average_becomes_the_weights(benchmark: Any) -> None:
    """By hand: decays of 2/11, 3/12, ... from the weights at the start."""
    seen: list[torch.Tensor] = []

    class Record(SupervisedPlugin):
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            seen.append(weights(template))

    first = template(benchmark, plugins=[Record()], iterations=[3, 1], evaluated=False)
    average = weights(first)
    first.train(benchmark.train_stream[0])
    for n, current in enumerate(seen, start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * current
    assert torch.allclose(weights(first), average, atol=1e-6)


def test_the_optimizer_starts_each_experience_anew(benchmark: Any) -> None:
    steps: list[float] = []

    class Record(SupervisedPlugin):
        def after_training_iteration(self, template: Any, **kwargs: Any) -> None:
            state = next(iter(template.optimizer.state.values()))
            steps.append(float(state["step"]))

    train(benchmark, plugins=[Record()], evaluated=False)
    assert steps == [1, 2, 3, 4, 5, 1, 2, 3, 4]


def test_the_gradient_is_clipped(benchmark: Any) -> None:
    norms: list[float] = []

    class Record(SupervisedPlugin):
        def after_update(self, template: Any, **kwargs: Any) -> None:
            grads = [p.grad.flatten() for p in template.model.parameters() if p.grad is not None]
            norms.append(float(torch.cat(grads).norm()))

    train(benchmark, plugins=[Record()], evaluated=False, clip=0.05)
    assert max(norms) <= 0.0501


def test_the_window_reaches_the_model(benchmark: Any) -> None:
    windows: list[tuple[int, int]] = []

    class Record(SupervisedPlugin):
        def before_training_iteration(self, template: Any, **kwargs: Any) -> None:
            windows.append(template.model.window)

    strategy = compose("timestep-window:start=10,stop=30")
    train(benchmark, strategy=strategy, plugins=[Record()], evaluated=False)
    assert windows == [(0, 100)] * 5 + [(10, 30)] * 4


def test_from_scratch_starts_every_domain_from_the_first_weights(benchmark: Any) -> None:
    starts: list[torch.Tensor] = []

    class Record(SupervisedPlugin):
        def before_training_epoch(self, template: Any, **kwargs: Any) -> None:
            starts.append(weights(template))

    settings: dict[str, Any] = {"plugins": [Record()], "evaluated": False}
    train(benchmark, strategy=compose("from-scratch"), **settings)
    assert torch.equal(starts[0], starts[1])
    starts.clear()
    train(benchmark, strategy=compose("finetune"), **settings)
    assert not torch.equal(starts[0], starts[1])


def test_metrics_have_the_domains_name_and_reach_any_logger(benchmark: Any) -> None:
    seen: dict[str, float] = {}

    class Logger:
        def log_metrics(self, values: Any) -> None:
            seen.update({value.name: value.value for value in values})

    metrics = build_metrics(["psnr", "ssim"], "rgb8", 16, torch.device("cpu"))
    evaluator = EvaluationPlugin(*map(DomainQuality, metrics), loggers=[Logger()])
    train(benchmark, evaluator=evaluator)
    assert sorted(seen) == [
        "psnr/test/animef",
        "psnr/test/celeba",
        "ssim/test/animef",
        "ssim/test/celeba",
    ]
    assert all(type(value) is float for value in seen.values())


def test_the_nets_of_two_teachers_are_kept(benchmark: Any) -> None:
    """Both are asked in every iteration; neither outlives the experience."""
    made = template(benchmark)
    learner = made.learner
    teachers = [learner.state(), learner.state()]

    def modules() -> list[int]:
        for weights in teachers:
            learner.net_of(weights)
        return [id(module) for _, module in learner._others]

    assert modules() == modules()
    made.train(benchmark.train_stream[0])
    assert all(weights is not mine for weights, _ in learner._others for mine in teachers)


def test_a_user_can_train_without_any_of_it(benchmark: Any) -> None:
    plain = template(benchmark, evaluated=False, ema=0, clip=0)
    before = weights(plain)
    plain.train(benchmark.train_stream[0])
    assert not torch.equal(before, weights(plain))


@pytest.mark.gpu
def test_bf16_on_a_gpu(benchmark: Any) -> None:
    trained = train(benchmark, device="cuda", bf16=True)
    assert weights(trained).isfinite().all()
