"""Which sizes make SR3's U-Net: told without torch."""

from __future__ import annotations

from collections.abc import Sequence

from cl_sr.image_size import in_words, sides


def check_sizes(
    inner_channel: int,
    channel_mults: Sequence[int],
    norm_groups: int,
    image_size: int | Sequence[int],
) -> None:
    """Refuse sizes that do not divide.

    Raises:
        ValueError: they do not.
    """
    if inner_channel % 2 or any(inner_channel * m % norm_groups for m in [1, *channel_mults]):
        raise ValueError(
            f"inner_channel {inner_channel} must be even, and times each of "
            f"{list(channel_mults)} a multiple of norm_groups {norm_groups}"
        )
    halved = len(channel_mults) - 1
    if any(side % 2**halved for side in sides(image_size)):
        raise ValueError(
            f"image_size {in_words(image_size)} must be a multiple of {2**halved}: it is halved "
            f"{halved} times"
        )
