"""Sizes of images: one number, or height and width."""

from __future__ import annotations

from typing import Any

import pytest

from cl_sr.image_size import enlarged, image_size, in_words, sides, spelled


@pytest.mark.parametrize(
    ("given", "size", "both", "on_the_command_line", "words", "from_low"),
    [
        (32, 32, (32, 32), "32", "32", "8 to 32 px"),
        ([32, 32], 32, (32, 32), "32", "32", "8 to 32 px"),
        ([96, 128], (96, 128), (96, 128), "[96,128]", "96x128", "24x32 to 96x128 px"),
        ((24, 16), (24, 16), (24, 16), "[24,16]", "24x16", "6x4 to 24x16 px"),
    ],
)
def test_height_comes_first(
    given: Any, size: Any, both: Any, on_the_command_line: str, words: str, from_low: str
) -> None:
    assert image_size(given) == size
    assert sides(given) == both
    assert spelled(given) == on_the_command_line
    assert in_words(given) == words
    assert enlarged(given, 4) == from_low


@pytest.mark.parametrize("given", [[], [1, 2, 3], [16, "24"], [16, 24.0], True, 0, [16, -1]])
def test_other_things_are_no_size(given: Any) -> None:
    with pytest.raises(ValueError, match="one number of pixels, or two"):
        sides(given)
