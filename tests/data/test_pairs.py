from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cl_sr.data.domains import CELEBA, DF2K_OST
from cl_sr.data.pairs import TestPairs, TrainingPairs, pack, unpack
from cl_sr.data.prepare import load_domain
from cl_sr.data.resize import downsample, upsample


def random_images(count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


@given(st.sampled_from([2, 4, 8]), st.integers(2, 6))
def test_bicubic_is_pillows(scale: int, low: int) -> None:
    image = random_images(1, low * scale)
    pil = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    small = pil.resize((low, low), Image.Resampling.BICUBIC)
    big = small.resize(pil.size, Image.Resampling.BICUBIC)
    for ours, theirs in (
        (downsample(image, scale), small),
        (upsample(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None], scale), big),
    ):
        difference = ours[0].permute(1, 2, 0).int() - torch.from_numpy(np.array(theirs)).int()
        assert difference.abs().max() <= 1


def test_area_is_the_mean_of_each_block() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    assert downsample(image, 2, "area").flatten().tolist() == [2, 4, 10, 12]  # 2.5 rounds to even


def test_packing_and_back() -> None:
    images = random_images(3, 16)
    packed = pack(images, 4, "bicubic")
    condition, image = unpack(packed)
    assert packed.shape == (3, 6, 16, 16)
    assert torch.equal(((image + 1) * 127.5).round().to(torch.uint8), images)
    assert torch.equal(packed[:, :3], upsample(downsample(images, 4), 4))
    assert float(condition.min()) >= -1


def test_flipping_mirrors_both_images_of_a_pair() -> None:
    data = load_domain(CELEBA, None, size=16, scale=4, standin_images=8)
    pairs = TrainingPairs(data, 0, 4, "bicubic", flip=True)
    plain = TrainingPairs(data, 0, 4, "bicubic", flip=False)[0][0]
    torch.manual_seed(0)
    seen = [pairs[0][0] for _ in range(40)]
    straight = sum(torch.equal(packed, plain) for packed in seen)
    mirrored = sum(torch.equal(packed, plain.flip(-1)) for packed in seen)
    assert straight + mirrored == 40
    assert 5 < straight < 35


def test_test_pairs_are_the_first_of_the_test_side() -> None:
    data = load_domain(CELEBA, None, size=16, scale=4, standin_images=20)
    pairs = TestPairs(data, 1, 4, "area", images=5)
    assert len(pairs) == 5
    packed, domain = pairs[4]
    assert domain == 1
    assert torch.equal(packed, pack(data.test[4:5], 4, "area")[0])


@pytest.mark.parametrize("memory_gb", [8.0, 0.0])
def test_random_crops_are_windows_of_their_image(
    image_folder: Callable[..., Path], memory_gb: float
) -> None:
    folder = image_folder("df2k-ost", 6, size=(40, 30))
    data = load_domain(
        DF2K_OST,
        folder,
        size=16,
        scale=4,
        memory_gb=memory_gb,
    )
    pairs = TrainingPairs(data, 2, 4, "bicubic", flip=False)
    torch.manual_seed(0)
    whole = torch.from_numpy(np.array(Image.open(data.train[0].path))).permute(2, 0, 1)
    windows = whole.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    crops = set()
    for _ in range(20):
        packed, domain = pairs[0]
        assert domain == 2
        found = (windows == packed[3:]).all(dim=(1, 2, 3)).nonzero()
        assert len(found) == 1
        crops.add(int(found))
        assert torch.equal(packed, pack(packed[None, 3:], 4, "bicubic")[0])
    assert len(crops) > 10
