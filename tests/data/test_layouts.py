"""Prepared folders give their high-resolution side alone, and plain ones all that they have."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cl_sr.data import layouts
from cl_sr.data.domains import CELEBA
from cl_sr.data.folder import find_images
from cl_sr.data.layouts import high_resolution
from cl_sr.data.prepare import load_domain, manifest
from cl_sr.errors import InputError

NUMBERS = ("0001", "0002", "0003", "0004", "0005", "0006")

# By what they are called: the folders of which the images are read, and those that are left out.
# `%` stands for the number of an image.
LAYOUTS: dict[str, tuple[list[str], list[str]]] = {
    "the public SR3 code's": (["hr_32/%"], ["lr_8/%", "sr_8_32/%"]),
    "the same, of more pixels": (["hr_128/%"], ["lr_16/%", "sr_16_128/%"]),
    "the same, without lr": (["hr_32/%"], ["sr_8_32/%"]),
    "the same, deeper": (["sr_data/hr_32/%"], ["sr_data/lr_8/%", "sr_data/sr_8_32/%"]),
    "with classes": (["hr_32/cat/%", "hr_32/dog/%"], ["lr_8/cat/%", "lr_8/dog/%"]),
    "DIV2K's": (
        ["DIV2K_train_HR/%"],
        ["DIV2K_train_LR_bicubic/X4/%x4", "DIV2K_train_LR_bicubic/X2/%x2",
         "DIV2K_train_LR_unknown/X4/%x4", "DIV2K_train_LR_mild/%x4m",
         "DIV2K_train_LR_wild/%x4w1"],
    ),
    "DF2K's": (
        ["DIV2K/DIV2K_train_HR/%", "DIV2K/DIV2K_valid_HR/9%", "Flickr2K/Flickr2K_HR/00%",
         "OST/animal/animal_%"],
        ["DIV2K/DIV2K_train_LR_bicubic/X4/%x4", "DIV2K/DIV2K_valid_LR_bicubic/X4/9%x4",
         "Flickr2K/Flickr2K_LR_bicubic/X4/00%x4"],
    ),
    "BasicSR's": (["GT/%"], ["LQ/%"]),
    "BasicSR's, cut": (
        ["DIV2K_train_HR_sub/%_s001", "DIV2K_train_HR_sub/%_s002"],
        ["DIV2K_train_LR_bicubic/X4_sub/%_s001", "DIV2K_train_LR_bicubic/X4_sub/%_s002"],
    ),
    "BasicSR's, cut and whole": (["DIV2K_train_HR/%"], ["DIV2K_train_HR_sub/%_s001"]),
    "BasicSR's test sets": (["Set5/GTmod12/%"], ["Set5/LRbicx4/%", "Set5/LRbicx2/%"]),
    "RCAN's": (["HR/Set5/x4/%_HR_x4"], ["LR/LRBI/Set5/x4/%_LRBI_x4"]),
    "RealSR's": (["Train/4/Canon%_HR"], ["Train/4/Canon%_LR4"]),
    "small letters": (["hr/%"], ["lr/%"]),
    "of splits": (["train/HR/%", "val/HR/1%"], ["train/LR/%", "val/LR/1%"]),
    "in one word": (["trainHR/%"], ["trainLR/%"]),
    "target and input": (["target/%"], ["input/%"]),
    "REDS's": (
        ["train/train_sharp/000/%"],
        ["train/train_blur/000/%", "train/train_blur_comp/000/%",
         "train/train_sharp_bicubic/X4/000/%"],
    ),
    "scales in names": (["HR/%", "HR/fox%"], ["LR/%_4x", "LR/foxx4%"]),
    "in a folder of pairs": (["HR_LR_pairs/HR/%"], ["HR_LR_pairs/LR/%"]),
}  # fmt: skip

PLAIN: dict[str, list[str]] = {
    "a name alone": ["lr_8/%"],
    "splits": ["train/%", "val/%"],
    "synsets": ["n01440764/n01440764_%", "n01443537/n01443537_%"],
    "other images": ["hr_32/%", "lr_8/1%"],
    "splits of other images": ["train_HR/%", "val_LR/1%"],
    "words that begin so": ["shrimps/%", "lrtimes/%", "tsar/%"],
}


def make(folder: Path, patterns: Sequence[str], low: Sequence[str] = ()) -> None:
    """Images of noise; `low` are halves of those, of the same numbers."""
    for number in NUMBERS:
        for k, pattern in enumerate([*patterns, *low]):
            noise = np.random.default_rng([k * (pattern not in low), int(number)])
            image = Image.fromarray(noise.integers(0, 256, (32, 40, 3), dtype=np.uint8))
            path = folder / f"{pattern.replace('%', number)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            (image.resize((20, 16)) if pattern in low else image).save(path)


def names(folder: Path, paths: Sequence[Path]) -> set[str]:
    return {str(path.relative_to(folder)) for path in paths}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_high_resolution_side_alone_is_data(tmp_path: Path, layout: str) -> None:
    high, low = LAYOUTS[layout]
    make(tmp_path, high, low)
    chosen, left_out = high_resolution(tmp_path, find_images(tmp_path))
    assert names(tmp_path, chosen) == {f"{p}.png".replace("%", n) for p in high for n in NUMBERS}
    assert sum(left_out.values()) == len(low) * len(NUMBERS)


@pytest.mark.parametrize("layout", PLAIN)
def test_plain_folders_keep_all_that_they_have(tmp_path: Path, layout: str) -> None:
    make(tmp_path, PLAIN[layout])
    paths = find_images(tmp_path)
    assert high_resolution(tmp_path, paths) == (paths, {})


def test_what_was_left_out_is_told_by_its_folder(tmp_path: Path) -> None:
    make(tmp_path, *LAYOUTS["DIV2K's"])
    _, left_out = high_resolution(tmp_path, find_images(tmp_path))
    assert left_out == {
        "DIV2K_train_LR_bicubic/X2": 6,
        "DIV2K_train_LR_bicubic/X4": 6,
        "DIV2K_train_LR_mild": 6,
        "DIV2K_train_LR_unknown/X4": 6,
        "DIV2K_train_LR_wild": 6,
    }


@pytest.mark.parametrize(
    ("large", "small"),
    [("big/%", "little/%"), ("%", "lr_8/%"), ("sr_8_32/%", "lr_8/%"), ("hr_32/%", "hr_16/%"),
     ("images1024x1024/%", "thumbnails128x128/%"), ("big/cat/%", "little/cat/%"),
     ("whole/%", "shrunk/%x2")],
)  # fmt: skip
def test_names_at_several_sizes_in_no_known_layout_are_refused(
    tmp_path: Path, large: str, small: str
) -> None:
    make(tmp_path, [large], [small])
    with pytest.raises(InputError, match=r"40x32 and 20x16|20x16 and 40x32"):
        high_resolution(tmp_path, find_images(tmp_path))


def classes(folder: Path, shapes: Any, same: bool) -> None:
    """Two folders of images that are numbered alike: 12 smooth ones, of the same or others."""
    for k, name in enumerate(("one", "two")):
        (folder / name).mkdir()
        for number in range(12):
            picture = np.random.default_rng([number, 0 if same else k])
            smooth = Image.fromarray(picture.integers(0, 256, (4, 4, 3), dtype=np.uint8))
            smooth.resize(shapes(k, picture), Image.Resampling.BICUBIC).save(
                folder / name / f"image_{number:04}.jpg"
            )


def any_shape(_: int, random: np.random.Generator) -> tuple[int, int]:
    return int(random.integers(30, 90)), int(random.integers(30, 90))


def one_shape(k: int, random: np.random.Generator) -> tuple[int, int]:
    """The second folder has squares."""
    return (24, 24) if k else any_shape(k, random)


@pytest.mark.parametrize("shapes", [any_shape, one_shape])
def test_classes_that_are_numbered_alike_are_plain(tmp_path: Path, shapes: Any) -> None:
    """As in Caltech-101, where some classes have images of one size, too."""
    classes(tmp_path, shapes, same=False)
    paths = find_images(tmp_path)
    assert high_resolution(tmp_path, paths) == (paths, {})


def test_the_same_pictures_made_square_are_refused(tmp_path: Path) -> None:
    classes(tmp_path, one_shape, same=True)
    with pytest.raises(InputError, match="24x24"):
        high_resolution(tmp_path, find_images(tmp_path))


def test_files_of_names_that_do_not_recur_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, PLAIN["synsets"])
    monkeypatch.setattr(layouts.Image, "open", None)
    paths = find_images(tmp_path)
    assert high_resolution(tmp_path, paths) == (paths, {})


def test_few_of_many_recurring_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def size(path: Path) -> tuple[int, int]:
        opened.append(path)
        return 32, 32

    monkeypatch.setattr(layouts, "_size", size)
    paths = [tmp_path / f"class-{k:03}" / f"{n:05}.jpg" for k in range(400) for n in range(50)]
    assert high_resolution(tmp_path, paths) == (paths, {})
    assert 0 < len(opened) <= 2 * layouts.PAIRS * layouts.MOST_FOLDERS


def test_broken_files_and_folders_do_not_matter(tmp_path: Path) -> None:
    make(tmp_path, ["train/%", "val/%"])
    (tmp_path / "train" / "0001.png").write_text("no image")
    paths = [tmp_path, *find_images(tmp_path)]  # a folder that cannot be read is in the list
    assert high_resolution(tmp_path, paths) == (paths, {})


def test_a_domain_has_each_image_once(tmp_path: Path) -> None:
    make(tmp_path, *LAYOUTS["the public SR3 code's"])
    data = load_domain(CELEBA, tmp_path, size=32, scale=4)
    assert len(data.train) + len(data.test) == len(NUMBERS)
    assert data.duplicates == data.enlarged == 0
    assert data.left_out == {"lr_8": 6, "sr_8_32": 6}
    assert "_8" not in manifest([data], {"celeba": tmp_path})
