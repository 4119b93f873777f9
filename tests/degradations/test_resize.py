"""8-bit degradations against Pillow and by hand."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cl_sr.degradations import AveragePool
from cl_sr.degradations.resize import downsample, upsample


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
    assert AveragePool(2).degrade(image).flatten().tolist() == [2, 4, 10, 12]  # 2.5 rounds to even
