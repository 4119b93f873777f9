"""Replay keeps real images, the right number of them, and puts them into batches as new ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from cl_sr.data.samples import Samples
from cl_sr.degradations import AveragePool, Bicubic
from cl_sr.errors import InputError
from cl_sr.strategies import compose
from cl_sr.strategies.memory import drawn as drawn_from
from cl_sr.strategies.memory import keep
from cl_sr.strategies.replay import Replay, blended

OWN = "0-replay"


@pytest.mark.parametrize(
    ("size", "shares"),
    [
        (6, [[6], [3, 3], [2, 2, 2]]),
        (8, [[8], [4, 4], [3, 3, 2]]),
        (2, [[2], [1, 1], [1, 1, 0]]),
        (1, [[1], [1, 0], [1, 0, 0]]),
        (100, [[14], [14, 14], [14, 14, 14]]),
    ],
)
def test_balanced_keeps_the_same_number_of_every_domain(
    world: Any, size: int, shares: list[list[int]]
) -> None:
    template = world.template(Replay(size=size, ratio=0.5))
    before: dict[str, Any] = {}
    for number, share in enumerate(shares):
        world.learn(template, [number])
        kept = template.memory[OWN]
        assert [len(kept[f"images.{k}"]) for k in range(number + 1)] == share
        for k in range(number + 1):
            places = [world.place(k, image) for image in kept[f"images.{k}"]]
            assert -1 not in places, "an image that is not of this domain"
            assert len(set(places)) == len(places), "an image twice"
        for name, images in before.items():
            old = [image.tolist() for image in images]
            assert all(image.tolist() in old for image in kept[name])
        before = dict(kept)


def test_each_keeps_as_many_of_every_domain(world: Any) -> None:
    template = world.template(Replay(size=3, policy="each"))
    for number in range(3):
        world.learn(template, [number])
        kept = template.memory[OWN]
        assert [len(kept[f"images.{k}"]) for k in range(number + 1)] == [3] * (number + 1)


def test_each_and_balanced_are_the_same_until_there_are_two_domains(world: Any) -> None:
    nets = [
        world.train(Replay(size=3, policy=policy), experiences=2).learner.net.state_dict()
        for policy in ("each", "balanced")
    ]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_what_is_kept_holds_no_more_bytes_than_its_images(world: Any) -> None:
    """A slice would keep all images of before in memory."""
    template = world.train(Replay(size=6), experiences=3)
    for images in template.memory[OWN].values():
        assert images.dtype == torch.uint8
        assert images.untyped_storage().nbytes() == images.numel()


def test_a_reservoir_has_domains_in_proportion_and_images_alike(make_world: Any) -> None:
    """Of 28 and 7 images 10 are kept; 300 times over, against the hypergeometric distribution.

    Of the second domain there are 10 * 7 / 35 = 2 in the mean, with a variance of
    10 * 1/5 * 4/5 * 25/34 = 1.18; each image is kept with probability 2/7.
    """
    world = make_world(28, 7)
    template = world.template(Replay(size=10, policy="reservoir"), iterations=[1, 1])
    strategy, times = template.strategy.parts[0], 300
    memories: list[dict[str, Any]] = [{} for _ in range(times)]

    def remember() -> None:
        for memory in memories:
            strategy.end(template.learner, memory)
            assert len(memory["images"]) == len(memory["keys"]) == 10

    torch.manual_seed(3)
    world.at_end(template, 0, remember)
    world.at_end(template, 1, remember)
    numbers = {}
    for domain, images in enumerate(world.images):
        for k, image in enumerate(images):
            for either in (image, image.flip(-1)):
                numbers[either.numpy().tobytes()] = domain, k
    of_second, count = [], Counter[tuple[int, int]]()
    for memory in memories:
        places = [numbers[image.numpy().tobytes()] for image in memory["images"]]
        assert len(set(places)) == 10
        of_second.append(sum(domain for domain, _ in places))
        count.update(places)
    mean = sum(of_second) / times
    assert abs(mean - 2) < 4 * (1.18 / times) ** 0.5
    expected, spread = times * 2 / 7, (times * 2 / 7 * 5 / 7) ** 0.5
    all_images = [(d, k) for d in (0, 1) for k in range(len(world.images[d]))]
    assert all(abs(count[image] - expected) < 4.5 * spread for image in all_images)


def test_a_reservoir_that_all_fit_into_keeps_all(make_world: Any) -> None:
    world = make_world(7, 14)
    template = world.train(Replay(size=40, policy="reservoir"))
    places = [(world.place(0, i), world.place(1, i)) for i in template.memory[OWN]["images"]]
    assert sorted(places) == [(-1, k) for k in range(14)] + [(k, -1) for k in range(7)]


@pytest.mark.parametrize(
    ("ratio", "batch", "past"),
    [(0.5, 4, 2), (0.25, 8, 2), (0.01, 4, 1), (0.99, 4, 3), (0.4, 5, 2), (0.6, 6, 4)],
)
def test_the_share_of_a_batch_is_exact_and_its_size_unchanged(
    world: Any, ratio: float, batch: int, past: int
) -> None:
    strategy = compose(Replay(size=8, ratio=ratio))
    template = world.template(strategy, batch_size=batch)
    shown: list[tuple[int, int, torch.Tensor]] = []
    forward = template.forward

    def spy() -> torch.Tensor:
        out: torch.Tensor = forward()
        learner = template.learner
        assert learner.seen is not None
        shown.append((learner.number, learner.seen.new, template.samples.hr.clone()))
        return out

    template.forward = spy
    world.learn(template, [0, 1])
    assert [number for number, *_ in shown] == [0] * 3 + [1] * 3
    assert all(len(images) == batch for *_, images in shown)
    for number, new, images in shown:
        assert new == (batch if number == 0 else batch - past)
        for k, image in enumerate(images):
            assert world.place(1 if number and k < new else 0, image) >= 0


@pytest.mark.parametrize("degradation", [Bicubic(4), AveragePool(4)], ids=["bicubic", "area"])
def test_conditions_are_those_of_the_images(world: Any, degradation: Any) -> None:
    template = world.train(Replay(size=8), experiences=1, degradation=degradation)
    (strategy,) = template.strategy.parts
    kept = template.memory[OWN]
    was = kept["images.0"].clone()
    strategy.begin(template.learner, kept)
    mirrored = 0
    for _ in range(5):
        samples = strategy.rehearsal(template.learner, kept, 12)
        assert samples.lr.dtype == samples.hr.dtype == torch.uint8
        assert (samples.lr.shape, samples.hr.shape) == ((6, 3, 4, 4), (6, 3, 16, 16))
        assert torch.equal(samples.lr, degradation.degrade(samples.hr.contiguous()))
        for image in samples.hr:
            (same,) = [old for old in was if torch.equal(old, image) or _mirror(old, image)]
            mirrored += _mirror(same, image)
    assert 4 < mirrored < 26  # of 30, half in the mean
    assert torch.equal(was, kept["images.0"]), "mirroring changed what is kept"


def test_images_of_the_past_are_mirrored_where_new_ones_are(world: Any) -> None:
    template = world.train(Replay(size=8), experiences=1, flip=False)
    (strategy,) = template.strategy.parts
    kept = template.memory[OWN]
    was = kept["images.0"].clone()
    strategy.begin(template.learner, kept)
    for image in strategy.rehearsal(template.learner, kept, 24).hr:
        assert any(torch.equal(old, image) for old in was)


def _mirror(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.flip(-1), b)


def test_nothing_is_rehearsed_in_the_first_experience(world: Any) -> None:
    template = world.template("replay")
    assert template.strategy.parts[0].rehearsal(template.learner, {}, 4) is None


@pytest.mark.gpu
def test_which_images_are_drawn_does_not_depend_on_where_they_lie(world: Any) -> None:
    """Resuming moves what is remembered to the device; before, `end` left it on the CPU."""
    template = world.train(Replay(size=8), experiences=1)
    (strategy,) = template.strategy.parts
    strategy.begin(template.learner, template.memory[OWN])
    kept = Samples(**template.memory[OWN]["samples"])
    drawn = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(1)
        memory = dict[str, Any]()
        keep(memory, kept.to(device))
        drawn.append(strategy.rehearsal(template.learner, memory, 12))
    assert drawn[1].hr.device.type == "cuda"
    assert torch.equal(drawn[0].packed(), drawn[1].to("cpu").packed())


@pytest.mark.parametrize("options", [{"size": 0}, {"ratio": 0.0}, {"ratio": 1.0}])
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="strategy replay"):
        Replay(**options).check(100)


def test_blends_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (grey([200, 10]), grey([100, 255]))
    shares = torch.tensor([0.25, 1.0])
    monkeypatch.setattr(torch, "rand", lambda *shape: shares.view(shape))
    found = blended(first, second, Bicubic(2))
    assert found.hr.dtype == found.lr.dtype == torch.uint8
    assert found.hr[:, 0, 0, 0].tolist() == [125, 10]
    assert found.lr[:, 0, 0, 0].tolist() == [125, 10]
    assert (found.hr.shape, found.lr.shape) == ((2, 3, 4, 4), (2, 3, 2, 2))


@pytest.mark.parametrize("degradation", [Bicubic(4), AveragePool(4)], ids=["bicubic", "area"])
def test_a_blend_is_degraded_anew(world: Any, degradation: Any) -> None:
    """Its low-resolution image is what its image gives, to the bit."""
    hr = world.images[0]
    samples = Samples(degradation.degrade(hr), hr)
    mixed = blended(samples, samples[torch.arange(len(hr) - 1, -1, -1)], degradation)
    assert torch.equal(mixed.lr, degradation.degrade(mixed.hr))
    assert not torch.equal(mixed.hr, samples.hr)
    assert not torch.equal(mixed.lr, samples.lr)


def test_mixed_images_are_blends_of_the_kept_ones(world: Any) -> None:
    plain, mixing = Replay(size=4), Replay(size=4, mix=True)
    memory = dict[str, Any]()
    keep(memory, grey([10, 20, 30]))
    learner = world.template(degradation=Bicubic(2)).learner
    found = {strategy.mix: strategy.rehearsal(learner, memory, 400) for strategy in (plain, mixing)}
    assert set(found[False].hr[:, 0, 0, 0].tolist()) == {10, 20, 30}
    assert len(set(found[True].hr[:, 0, 0, 0].tolist())) == 21  # 10 to 30
    assert mixing.rehearsal(learner, {}, 400) is None


def grey(values: list[int]) -> Samples:
    """Images of one value each, of 4 pixels, with low-resolution ones of 2."""
    pixels = torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1)
    return Samples(*(pixels.expand(-1, 3, side, side).contiguous() for side in (2, 4)))


def test_what_is_kept_can_be_drawn_mirrored_or_not() -> None:
    """For strategies that rehearse: both halves of a sample are mirrored together."""
    hr = torch.arange(2 * 3 * 16, dtype=torch.uint8).view(2, 3, 4, 4)
    samples = Samples(hr[..., :2, :2].contiguous(), hr)
    memory = dict[str, Any]()
    assert drawn_from(memory, 5) is None
    keep(memory, samples)
    assert set(memory) == {"samples"}
    assert set(memory["samples"]) == {"lr", "hr"}
    plain, either = drawn_from(memory, 40, flip=False), drawn_from(memory, 40)
    assert plain is not None
    assert either is not None
    pairs = {one.tobytes() for one in samples.packed().numpy()}
    mirrored = {one.tobytes() for one in samples.mirrored().packed().numpy()}
    assert {one.tobytes() for one in plain.packed().numpy()} == pairs
    assert {one.tobytes() for one in either.packed().numpy()} == pairs | mirrored
