"""8-bit degradations against Pillow and by hand."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cl_sr.degradations import AveragePool
from cl_sr.degradations.resize import downsample, upsample


def as_tensor(image: Image.Image, channels: int) -> torch.Tensor:
    pixels = np.array(image).reshape(image.height, image.width, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@given(
    st.sampled_from([2, 4, 8]), st.integers(2, 6), st.integers(2, 6), st.sampled_from(["RGB", "L"])
)
def test_bicubic_is_pillows(scale: int, low: int, wide: int, mode: str) -> None:
    shape, channels = (low * scale, wide * scale, 3), {"RGB": 3, "L": 1}[mode]
    noise = np.random.default_rng(low).integers(0, 256, shape, dtype=np.uint8)
    pil = Image.fromarray(noise).convert(mode)
    small = pil.resize((wide, low), Image.Resampling.BICUBIC)
    big = small.resize(pil.size, Image.Resampling.BICUBIC)
    for ours, theirs in (
        (downsample(as_tensor(pil, channels), scale), small),
        (upsample(as_tensor(small, channels), scale), big),
    ):
        difference = ours.int() - as_tensor(theirs, channels).int()
        assert difference.abs().max() <= 1


def test_area_is_the_mean_of_each_block() -> None:
    image = torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4)
    assert AveragePool(2).degrade(image).flatten().tolist() == [2, 4, 10, 12]  # 2.5 rounds to even
