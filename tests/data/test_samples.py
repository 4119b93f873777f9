"""Low-resolution images travel with their high-resolution ones, packed as one tensor."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from cl_sr.data.domains import CELEBA, DF2K_OST
from cl_sr.data.prepare import load_domain
from cl_sr.data.samples import Samples, TestSamples, TrainingSamples
from cl_sr.degradations import AveragePool, Bicubic, Degradation


class Noisy(Degradation):
    """Random: an image that is degraded twice does not give the same twice."""

    name = "noisy"

    def degrade(self, hr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        low = Bicubic(self.scale).degrade(hr)
        noise = torch.randint(0, 40, low.shape, generator=generator)
        return (low + noise).clamp(0, 255).to(torch.uint8)


def random_images(count: int, height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8)


@given(
    st.integers(0, 3),
    st.sampled_from([1, 2, 3, 4, 8]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 3]),
)
def test_packing_and_back(count: int, scale: int, height: int, width: int, channels: int) -> None:
    samples = Samples(
        random_images(count, height, width, channels),
        random_images(count, height * scale, width * scale, channels),
    )
    packed = samples.packed()
    assert packed.shape[2:] == samples.hr.shape[2:]
    assert packed.shape[1] == channels + -(-channels // scale**2)
    again = Samples.unpack(packed, scale)
    assert torch.equal(again.lr, samples.lr)
    assert torch.equal(again.hr, samples.hr)


def test_rows_and_joining() -> None:
    samples = Samples(random_images(5, 4, 4), random_images(5, 16, 16))
    rows = torch.tensor([True, False, True, False, False])
    assert torch.equal(samples[rows].lr, samples.lr[[0, 2]])
    joined = Samples.join([samples[:2], samples[2:]])
    assert torch.equal(joined.hr, samples.hr)
    assert len(joined) == 5
    mirrored = samples.mirrored(rows)
    assert torch.equal(mirrored.lr[0], samples.lr[0].flip(-1))
    assert torch.equal(mirrored.hr[1], samples.hr[1])
    assert torch.equal(samples.mirrored().mirrored().lr, samples.lr)


def test_flipping_mirrors_both_images_of_a_sample() -> None:
    data = load_domain(CELEBA, None, size=16, scale=4, standin_images=8)
    plain = TrainingSamples(data, 0, Bicubic(4), flip=False)[0][0]
    mirrored = Samples.unpack(plain[None], 4).mirrored().packed()[0]
    samples = TrainingSamples(data, 0, Bicubic(4), flip=True)
    torch.manual_seed(0)
    seen = [samples[0][0] for _ in range(40)]
    straight = sum(torch.equal(packed, plain) for packed in seen)
    assert straight + sum(torch.equal(packed, mirrored) for packed in seen) == 40
    assert 5 < straight < 35


def test_test_samples_are_the_images_with_what_the_degradation_makes_of_them() -> None:
    data = load_domain(CELEBA, None, size=16, scale=4, standin_images=20)
    samples = TestSamples(data.test[:5], 1, AveragePool(4))
    assert len(samples) == 5
    packed, domain = samples[4]
    assert domain == 1
    found = Samples.unpack(packed[None], 4)
    assert torch.equal(found.hr, data.test[4:5])
    assert torch.equal(found.lr, AveragePool(4).degrade(data.test[4:5]))


def test_what_is_random_in_a_test_image_is_the_same_whenever_it_is_asked_for() -> None:
    images = random_images(6, 16, 16)
    samples = TestSamples(images, 0, Noisy(4))
    one_by_one = torch.cat([Samples.unpack(samples[k][0][None], 4).lr for k in range(6)])
    torch.manual_seed(5)
    assert torch.equal(samples.samples(0, 6).lr, one_by_one)
    assert torch.equal(samples.samples(4, 9).lr, one_by_one[4:])
    fewer = TestSamples(images[:3], 0, Noisy(4))
    assert torch.equal(fewer.samples(0, 3).lr, one_by_one[:3])
    assert not torch.equal(TestSamples(images, 1, Noisy(4)).samples(0, 6).lr, one_by_one)


def test_what_is_random_in_a_training_image_is_drawn_anew() -> None:
    data = load_domain(CELEBA, None, size=16, scale=4, standin_images=8)
    samples = TrainingSamples(data, 0, Noisy(4), flip=False)
    torch.manual_seed(0)
    first, second = (Samples.unpack(samples[0][0][None], 4) for _ in range(2))
    assert torch.equal(first.hr, second.hr)
    assert not torch.equal(first.lr, second.lr)
    torch.manual_seed(0)
    assert torch.equal(Samples.unpack(samples[0][0][None], 4).lr, first.lr)


@pytest.mark.parametrize("memory_gb", [8.0, 0.0])
def test_random_crops_are_windows_of_their_image(
    image_folder: Callable[..., Path], memory_gb: float
) -> None:
    folder = image_folder("df2k-ost", 6, size=(40, 30))
    data = load_domain(DF2K_OST, folder, size=16, scale=4, memory_gb=memory_gb)
    samples = TrainingSamples(data, 2, Bicubic(4), flip=False)
    torch.manual_seed(0)
    whole = torch.from_numpy(np.array(Image.open(data.train[0].path))).permute(2, 0, 1)
    windows = whole.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    crops = set()
    for _ in range(20):
        packed, domain = samples[0]
        assert domain == 2
        sample = Samples.unpack(packed[None], 4)
        found = (windows == sample.hr[0]).all(dim=(1, 2, 3)).nonzero()
        assert len(found) == 1
        crops.add(int(found))
        assert torch.equal(sample.lr, Bicubic(4).degrade(sample.hr))
    assert len(crops) > 10
