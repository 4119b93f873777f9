"""WiSE-FT: the way between two sets of weights, and how far to go."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_sr.errors import InputError
from cl_sr.strategies.wise_ft import WiseFt, interpolated

OWN = "0-wise-ft"


@pytest.mark.parametrize("alpha", [0.25, 0.7])
def test_the_weights_are_interpolated(world: Any, alpha: float) -> None:
    plain = world.train("finetune", experiences=1)
    old = plain.weights().detach()
    world.learn(plain, [1])
    new = plain.weights().detach()
    found = world.train(WiseFt(alpha=alpha))
    expected = (1 - alpha) * old.double() + alpha * new.double()
    assert torch.allclose(found.weights().detach().double(), expected, atol=1e-6)
    assert found.memory[OWN] == {"alpha-1": alpha}


def test_all_the_way_is_fine_tuning(world: Any) -> None:
    settings: dict[str, Any] = {"experiences": 3, "ema": 0.5}
    plain, whole = world.train("finetune", **settings), world.train(WiseFt(alpha=1.0), **settings)
    assert torch.equal(plain.weights(), whole.weights())


def test_interpolation_by_hand() -> None:
    old, new = {"w": torch.tensor([0.0, 4.0])}, {"w": torch.tensor([1.0, 8.0])}
    assert interpolated(old, new, 0.25)["w"].tolist() == [0.25, 5.0]
    assert torch.equal(interpolated(old, new, 0.0)["w"], old["w"])
    assert torch.equal(interpolated(old, new, 1.0)["w"], new["w"])


@pytest.mark.parametrize(
    ("options", "held"), [({"held_out": 4}, [0, 4]), ({}, [0, 7]), ({"alpha": 0.5}, [0, 0])]
)
def test_images_that_are_held_out_are_never_trained_on(
    world: Any, options: dict[str, Any], held: list[int]
) -> None:
    """Of 14 images at most half; none in the first experience, nor where alpha is given."""
    template = world.template(WiseFt(**options), iterations=[12, 12, 1])
    for number in (0, 1):
        shown: set[int] = set()
        kept: list[int] = []
        forward, images = template.forward, world.images[number]

        def spy(
            forward: Any = forward, number: int = number, shown: set[int] = shown
        ) -> torch.Tensor:
            shown |= {world.place(number, packed[3:]) for packed in template.mb_x}
            out: torch.Tensor = forward()
            return out

        def look(number: int = number, kept: list[int] = kept) -> None:
            if len(template.held_out):
                found = template.held_out_images()
                kept += [world.place(number, packed[3:]) for packed in found]

        template.forward = spy
        world.at_end(template, number, look)
        template.forward = forward
        assert -1 not in {*shown, *kept}
        assert len(kept) == len(set(kept)) == held[number]
        assert shown == set(range(len(images))) - set(kept)  # 48 draws show all there are


@pytest.mark.parametrize(
    ("keep", "expected"),
    # Of 10 (1 - (alpha - 0.7)^2 / 0.49), which is 10 at most: 7.45 at 0.3, 9.18 at 0.5, 10 at 0.7.
    [(0.5, 0.3), (0.8, 0.4), (0.9, 0.5), (0.95, 0.6), (1.0, 0.7)],
)
def test_the_smallest_that_keeps_the_gain_is_chosen(
    world: Any, monkeypatch: pytest.MonkeyPatch, keep: float, expected: float
) -> None:
    template = world.template()
    old, new = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    monkeypatch.setattr(template, "held_out_images", lambda: torch.zeros(1), raising=False)
    asked: list[float] = []

    def quality(images: Any, weights: Any) -> float:
        asked.append(float(weights["w"]))
        return 20 + 10 * (1 - (asked[-1] - 0.7) ** 2 / 0.49)

    monkeypatch.setattr(template, "quality", quality)
    assert WiseFt(keep=keep)._choose(template, old, new) == expected
    assert asked == pytest.approx([0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])


def test_where_nothing_is_gained_it_hardly_goes(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = world.template()
    monkeypatch.setattr(template, "held_out_images", lambda: torch.zeros(1), raising=False)
    monkeypatch.setattr(template, "quality", lambda _, weights: 30 - 2 * float(weights["w"]))
    chosen = WiseFt()._choose(template, {"w": torch.zeros(1)}, {"w": torch.ones(1)})
    assert chosen == 0.2


def test_the_chosen_one_is_used(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quality of a run is that on its held-out images: PSNR by hand."""
    template = world.template(WiseFt(held_out=3))
    world.learn(template, [0])
    old = template.weights().detach()
    ends: list[torch.Tensor] = []
    values: list[tuple[float, float]] = []
    quality = template.quality

    def spy(packed: torch.Tensor, weights: Any) -> float:
        found: float = quality(packed, weights)
        if not ends:
            ends.append(template.weights().detach())
            net = world.template().net
            net.load_state_dict(dict(weights))
            shown = packed.float() / 127.5 - 1
            with torch.no_grad():
                restored = template.sample(shown[:, :3], range(3), net)
            pixels = [((x + 1) / 2).clamp(0, 1).mul(255).round() for x in (restored, shown[:, 3:])]
            error = (pixels[0] - pixels[1]).square().mean(dim=(1, 2, 3))
            by_hand = (10 * (255**2 / error).log10()).mean()
            values.append((found, float(by_hand)))
        return found

    monkeypatch.setattr(template, "quality", spy)
    world.learn(template, [1])
    alpha = template.memory[OWN]["alpha-1"]
    assert 0 < alpha <= 1
    expected = old + alpha * (ends[0] - old)
    assert torch.allclose(template.weights().detach(), expected, atol=1e-6)
    assert values[0][0] == pytest.approx(values[0][1], abs=1e-3)


@pytest.mark.parametrize(
    "options", [{"alpha": -0.1}, {"alpha": 1.1}, {"keep": 0.0}, {"keep": 1.1}, {"held_out": 0}]
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="wise-ft"):
        WiseFt(**options).check(100)
