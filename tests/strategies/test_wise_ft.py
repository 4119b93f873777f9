"""WiSE-FT: the way between two sets of weights, and how far to go."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_sr.data.samples import Samples
from cl_sr.errors import InputError
from cl_sr.strategies.wise_ft import WiseFt, interpolated

OWN = "0-wise-ft"


@pytest.mark.parametrize("alpha", [0.25, 0.7])
def test_the_weights_are_interpolated(world: Any, alpha: float) -> None:
    plain = world.train("finetune", experiences=1)
    old = plain.learner.weights().detach()
    world.learn(plain, [1])
    new = plain.learner.weights().detach()
    found = world.train(WiseFt(alpha=alpha))
    expected = (1 - alpha) * old.double() + alpha * new.double()
    assert torch.allclose(found.learner.weights().detach().double(), expected, atol=1e-6)
    assert found.memory[OWN] == {"alpha-1": alpha}


def test_all_the_way_is_fine_tuning(world: Any) -> None:
    settings: dict[str, Any] = {"experiences": 3, "ema": 0.5}
    plain, whole = world.train("finetune", **settings), world.train(WiseFt(alpha=1.0), **settings)
    assert torch.equal(plain.learner.weights(), whole.learner.weights())


def test_interpolation_by_hand() -> None:
    old, new = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([1.0, 8.0])}
    assert interpolated(old, new, 0.25)["w"].tolist() == [0.25, 5.0]
    assert torch.equal(interpolated(old, new, 0.0)["w"], old["w"])
    assert torch.equal(interpolated(old, new, 1.0)["w"], new["w"])


@pytest.mark.parametrize(
    ("options", "held"), [({"held_out": 3}, [0, 3]), ({}, [0, 4]), ({"alpha": 0.5}, [0, 0])]
)
def test_images_that_are_held_out_are_never_trained_on(
    world: Any, options: dict[str, Any], held: list[int]
) -> None:
    """Of 14 images at most 4; none in the first experience, nor where alpha is given."""
    template = world.template(WiseFt(**options), iterations=[12, 12, 1])
    for number in (0, 1):
        shown: set[int] = set()
        kept: list[int] = []
        forward, images = template.forward, world.images[number]

        def spy(
            forward: Any = forward, number: int = number, shown: set[int] = shown
        ) -> torch.Tensor:
            shown |= set(world.places(number, template.samples.hr))
            out: torch.Tensor = forward()
            return out

        def look(number: int = number, kept: list[int] = kept) -> None:
            if len(template.learner.images) < 14:
                kept += world.places(number, template.learner.images.held_out.hr)

        template.forward = spy
        world.at_end(template, number, look)
        template.forward = forward
        assert -1 not in {*shown, *kept}
        assert len(kept) == len(set(kept)) == held[number]
        assert shown == set(range(len(images))) - set(kept)  # 48 draws show all there are


def chosen(
    monkeypatch: pytest.MonkeyPatch, keep: float, curve: Callable[[float], float]
) -> tuple[float, list[float]]:
    """The alpha for a quality of `curve(alpha)`, and the alphas that were tried."""
    asked: list[float] = []

    def quality(self: WiseFt, learner: Any, images: Any, weights: Any) -> float:
        asked.append(float(weights["w"]))
        return 20 + curve(asked[-1])

    monkeypatch.setattr(WiseFt, "_quality", quality)
    learner: Any = SimpleNamespace(images=SimpleNamespace(held_out=None))
    old, new = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    return WiseFt(keep=keep)._choose(learner, old, new), asked


@pytest.mark.parametrize(
    ("keep", "expected", "tried"),
    # Of 10 (1 - (alpha - 0.6)^2 / 0.36), which is 0, 5.556, 8.889, 10 at 0, 0.2, 0.4, 0.6.
    [
        (0.3, 0.2 * 3 / 5.5556, [0.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
        (0.8, 0.2 + 0.2 * 2.4444 / 3.3333, [0.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
        (0.95, 0.4 + 0.2 * 0.6111 / 1.1111, [0.0, 1.0, 0.8, 0.6, 0.4]),
        (1.0, 0.6, [0.0, 1.0, 0.8, 0.6, 0.4]),
    ],
)
def test_the_smallest_that_keeps_the_gain_is_chosen(
    monkeypatch: pytest.MonkeyPatch, keep: float, expected: float, tried: list[float]
) -> None:
    found, asked = chosen(monkeypatch, keep, lambda alpha: 10 * (1 - (alpha - 0.6) ** 2 / 0.36))
    assert found == pytest.approx(expected, abs=1e-4)
    assert asked == pytest.approx(tried)


@pytest.mark.parametrize(("best", "furthest"), [(0.8, 1.0), (1.0, 1.2), (1.4, 1.6), (5.0, 2.0)])
def test_a_domain_that_is_not_learnt_goes_on_along_the_line(
    monkeypatch: pytest.MonkeyPatch, best: float, furthest: float
) -> None:
    found, asked = chosen(monkeypatch, 1.0, lambda alpha: -((alpha - best) ** 2))
    assert found == pytest.approx(min(best, 2.0))
    assert max(asked) == pytest.approx(furthest)


def test_where_nothing_is_gained_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = chosen(monkeypatch, 0.95, lambda alpha: -2 * alpha)
    assert found == 0.0
    assert max(asked) == 1.0
    # A maximum that is a loss all the same, and one that is as flat.
    for losses in ([0, -0.5, -0.6, -0.3, -0.2, -0.25], [0, -0.5, -0.5, -0.5, -0.5, -0.5, -0.5]):
        found, _ = chosen(monkeypatch, 0.95, lambda a, of=losses: of[round(a * 5)])  # type: ignore[misc]
        assert found == 0.0


def test_the_chosen_one_is_used(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quality of a run is that on its held-out images: PSNR by hand."""
    template = world.template(WiseFt(held_out=3, steps=2, seed=4))
    world.learn(template, [0])
    old = template.learner.weights().detach()
    ends: list[torch.Tensor] = []
    values: list[tuple[float, float]] = []
    quality, learner = WiseFt._quality, template.learner

    def spy(self: WiseFt, asking: Any, images: Samples, weights: Any) -> float:
        found = quality(self, asking, images, weights)
        assert asking is learner
        if not ends:
            ends.append(learner.weights().detach())
            net = world.template().learner.net
            net.load_state_dict(dict(weights))
            restored = world.restored(template, net, images.lr, range(4, 7))
            made = ((restored + 1) / 2).clamp(0, 1).mul(255).round()
            error = (made - images.hr.float()).square().mean(dim=(1, 2, 3))
            by_hand = (10 * (255**2 / error).log10()).mean()
            values.append((found, float(by_hand)))
        return found

    monkeypatch.setattr(WiseFt, "_quality", spy)
    world.learn(template, [1])
    alpha = template.memory[OWN]["alpha-1"]
    assert 0 <= alpha <= 2
    expected = old + alpha * (ends[0] - old)
    assert torch.allclose(template.learner.weights().detach(), expected, atol=1e-6)
    assert values[0][0] == pytest.approx(values[0][1], abs=1e-3)


def test_one_image_is_none_to_choose_on() -> None:
    learner: Any = SimpleNamespace(number=1, images=[None])
    WiseFt(alpha=0.5).adapt(learner, {})  # has none to hold out
    with pytest.raises(InputError, match=r"wise-ft:alpha=0\.5"):
        WiseFt().adapt(learner, {})


@pytest.mark.parametrize(
    "options",
    [
        *({"alpha": -0.1}, {"alpha": 2.1}, {"keep": 0.0}, {"keep": 1.1}, {"held_out": 0}),
        *({"steps": 101}, {"steps": -1}, {"eta": 1.5}, {"batch": 0}),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="wise-ft"):
        WiseFt(**options).check(100)
