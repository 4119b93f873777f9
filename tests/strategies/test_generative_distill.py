"""Generative distillation: pairs of the past that are drawn, and answers that the old net gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.data.samples import Samples
from cl_sr.degradations.resize import downsample, upsample
from cl_sr.errors import InputError
from cl_sr.strategies.generative_distill import GenerativeDistill

OWN = "0-generative-distill"


def begun(world: Any, template: Any, number: int) -> dict[str, Any]:
    """What is remembered while an experience lasts."""
    found: dict[str, Any] = {}
    with world.around(template, "begin", after=lambda: found.update(template.memory[OWN])):
        world.learn(template, [number])
    return found


def nearest_domain(world: Any, condition: torch.Tensor) -> int:
    """By the mean colour alone."""
    means = [images.float().mean(dim=(0, 2, 3)) for images in world.images]
    colour = condition.float().mean(dim=(1, 2))
    return int(torch.stack([(colour - mean).norm() for mean in means]).argmin())


@pytest.mark.parametrize(("number", "counts"), [(1, [7]), (2, [4, 3])])
def test_pairs_are_of_all_earlier_domains_and_of_no_other(
    world: Any, number: int, counts: list[int]
) -> None:
    template = world.train("generative-distill:size=7,components=4", experiences=number)
    pairs = Samples(**begun(world, template, number)["samples"])
    assert pairs.lr.dtype == pairs.hr.dtype == torch.uint8
    assert (pairs.lr.shape, pairs.hr.shape) == ((7, 3, 4, 4), (7, 3, 16, 16))
    found = [nearest_domain(world, upsample(low[None], 4)[0]) for low in pairs.lr]
    assert found == [k for k, count in enumerate(counts) for _ in range(count)]


def test_a_pair_is_an_enlarged_drawing_and_what_the_old_net_makes_of_it(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_sr.models.gaussian import Gaussian

    template = world.train("generative-distill:size=5,components=4,steps=2", experiences=1)
    drawn: list[torch.Tensor] = []
    asked: list[tuple[torch.Tensor, list[int]]] = []
    draw, restore = Gaussian.draw, template.learner.restore

    def draw_spy(self: Gaussian, count: int) -> torch.Tensor:
        drawn.append(draw(self, count))
        return drawn[-1]

    def restore_spy(lr: torch.Tensor, seeds: Any, weights: Any, *how: Any) -> torch.Tensor:
        asked.append((lr, list(seeds)))
        return restore(lr, seeds, weights, *how)

    monkeypatch.setattr(Gaussian, "draw", draw_spy)
    monkeypatch.setattr(template.learner, "restore", restore_spy)
    before = {k: v.clone() for k, v in template.learner.net.state_dict().items()}
    held = begun(world, template, 1)
    assert all(torch.equal(held["teacher"][k], before[k]) for k in before)
    low = (drawn[0].view(-1, 3, 4, 4) * 255).round().clamp(0, 255).to(torch.uint8)
    pairs = Samples(**held["samples"])
    assert torch.equal(pairs.lr, low)
    ((shown, seeds),) = asked
    assert torch.equal(shown, low)
    assert len(set(seeds)) == 5
    old = world.template().learner.net
    old.load_state_dict(before)
    images = (world.restored(template, old, low, seeds) + 1) * 127.5
    assert (pairs.hr - images.clamp(0, 255)).abs().max() < 0.51  # of 255, rounded


def test_the_statistics_are_those_of_the_low_resolution_images(world: Any) -> None:
    """Mirroring aside, which pixels' means in pairs do not see."""
    template = world.train("generative-distill:components=3", experiences=1)
    kept = template.memory[OWN]["domain-0"]
    assert {name: tuple(t.shape) for name, t in kept.items()} == {
        "mean": (48,),
        "components": (3, 48),
        "variances": (3,),
        "rest": (1,),
        "scales": (1,),
        "weights": (1,),
    }
    low = downsample(world.images[0], 4).float() / 255
    either = (low + low.flip(-1)).mean(0) / 2
    mean = kept["mean"].view(3, 4, 4)
    assert torch.allclose((mean + mean.flip(-1)) / 2, either, atol=1e-2)


def test_no_image_is_kept_between_experiences(world: Any) -> None:
    template = world.template("generative-distill:size=4,components=2")
    for number in range(3):
        world.learn(template, [number])
        kept = template.memory[OWN]
        assert set(kept) == {f"domain-{k}" for k in range(number + 1)}
        for part in kept.values():
            assert set(part) == {"mean", "components", "variances", "rest", "scales", "weights"}
            assert all(tensor.is_floating_point() for tensor in part.values())
            # 2 components, a mean, and 3 numbers: fewer than the 14 images have
            assert sum(tensor.numel() for tensor in part.values()) == 3 * 48 + 3 + 2


def test_its_rows_are_to_be_answered_as_the_teacher_did_and_the_others_truly(world: Any) -> None:
    text = "replay:size=4,ratio=0.25+generative-distill:size=6,ratio=0.25,components=2"
    template = world.train(text, experiences=1, batch_size=8)
    before = {k: v.clone() for k, v in template.learner.net.state_dict().items()}
    compared: list[int] = []
    target = template.strategy.target

    def spy(learner: Any, memory: Any, seen: Any) -> torch.Tensor:
        wanted: torch.Tensor = target(learner, memory, seen)
        rows = seen.rows["generative-distill"]
        assert (seen.rows["replay"], rows) == (slice(6, 8), slice(4, 6))
        teacher = learner.net_of(before)
        expected = seen.truth.clone()
        expected[4:6] = teacher(seen.noisy[4:6], seen.condition[4:6], seen.level[4:6])
        assert torch.allclose(wanted, expected, atol=1e-6)
        assert not torch.allclose(wanted[4:6], seen.truth[4:6], atol=1e-2)
        assert not wanted.requires_grad
        pairs = Samples(**memory["1-generative-distill"]["samples"])
        either = [*pairs.packed().tolist(), *pairs.mirrored().packed().tolist()]
        assert all(packed.tolist() in either for packed in template.samples[4:6].packed())
        compared.append(seen.new)
        return wanted

    object.__setattr__(template.strategy, "target", spy)
    world.learn(template, [1])
    assert compared == [4, 4, 4]


def test_the_loss_is_that_of_the_teachers_answers(world: Any) -> None:
    template = world.train(
        "generative-distill:size=6,components=2,ratio=0.5", experiences=1, clip=0
    )
    losses: list[tuple[float, float]] = []
    criterion = template.criterion

    def spy() -> torch.Tensor:
        loss: torch.Tensor = criterion()
        seen = template.learner.seen
        assert seen is not None
        expected = (seen.answer - seen.truth).square().mean()
        teacher = template.learner.net_of(template.memory[OWN]["teacher"])
        past = teacher(seen.noisy[2:], seen.condition[2:], seen.level[2:])
        assert torch.allclose(seen.truth[2:], past, atol=1e-6)
        losses.append((float(loss.detach()), float(expected.detach())))
        return loss

    template.criterion = spy
    world.learn(template, [1])
    assert len(losses) == 3
    assert all(a == pytest.approx(b, rel=1e-6) for a, b in losses)


def test_in_the_first_experience_it_is_fine_tuning(world: Any) -> None:
    settings: dict[str, Any] = {"experiences": 1}
    plain, drawing = (world.train(s, **settings) for s in ("finetune", "generative-distill"))
    assert torch.equal(drawing.learner.weights(), plain.learner.weights())


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"components": 0}, {"ratio": 0.0}, {"ratio": 1.0}]
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="generative-distill"):
        GenerativeDistill(**options).check(100)
