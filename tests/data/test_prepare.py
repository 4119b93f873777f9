import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_sr.data.domains import CELEBA, DF2K_OST, Domain
from cl_sr.data.folder import ImageFile
from cl_sr.data.prepare import (
    load_domain,
    manifest,
    prepared_pixels,
    random_split,
    read_again,
    split,
)
from cl_sr.errors import InputError

SETTINGS: dict[str, Any] = {"size": 16, "scale": 4, "standin_images": 20, "split_seed": 0}


def files(hashes: list[str]) -> list[ImageFile]:
    return [ImageFile(f"{k}.png", sha, 8, 8, None) for k, sha in enumerate(hashes)]


@given(st.lists(st.integers(0, 30).map(str), min_size=4, max_size=60), st.integers(0, 5))
def test_copies_never_stand_on_both_sides(hashes: list[str], seed: int) -> None:
    train, test = split(files(hashes), seed)
    assert not {f.sha256 for f in train} & {f.sha256 for f in test}
    assert len(train) + len(test) == len(hashes)
    distinct = len(set(hashes))
    assert len({f.sha256 for f in train}) == round(0.7 * distinct)


@given(st.integers(4, 60), st.integers(0, 5))
def test_a_random_split_is_by_file(count: int, seed: int) -> None:
    given_files = files([str(k // 2) for k in range(count)])
    train, test = random_split(given_files, seed)
    assert sorted(f.path for f in [*train, *test]) == sorted(f.path for f in given_files)
    assert len(train) == round(0.7 * count)
    assert (train, test) == random_split(given_files, seed)


def test_a_random_split_leaks_copies_and_a_split_by_content_does_not(
    image_folder: Callable[..., Path],
) -> None:
    folder = image_folder("celeba", 40)
    by_content, by_file = (
        load_domain(CELEBA, folder, **SETTINGS, how=how, copies=0.5)
        for how in ("content", "random")
    )
    assert by_content.duplicates == by_file.duplicates == 20
    assert len(by_file.train) + len(by_file.test) == 60
    assert len(by_content.test) == len({f.sha256 for f in by_content.test_files}) == 12
    assert by_content.leaked == 0
    trained_on = {f.sha256 for f in by_file.train}
    assert by_file.leaked == sum(f.sha256 in trained_on for f in by_file.test_files) > 0


def test_a_share_of_the_training_images(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("celeba", 40)
    whole = load_domain(CELEBA, folder, **SETTINGS)
    tenth = load_domain(CELEBA, folder, **SETTINGS, share=0.1)
    assert [f.path for f in tenth.train] == [f.path for f in whole.train[:3]]
    assert np.array_equal(tenth.test, whole.test)


def test_the_split_depends_on_the_seed_and_not_on_names() -> None:
    one = files([str(k) for k in range(100)])
    renamed = [ImageFile(f"other-{f.path}", f.sha256, 8, 8, None) for f in reversed(one)]

    def side(of: list[ImageFile], seed: int) -> list[str]:
        return [f.sha256 for f in split(of, seed)[1]]

    assert side(one, 0) == side(renamed, 0)
    assert side(one, 0) != side(one, 1)


def test_a_folder_with_copies(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("celeba", 10)
    for k in range(3):
        shutil.copy(folder / "000.png", folder / f"copy-{k}.png")
    data = load_domain(CELEBA, folder, **SETTINGS)
    assert data.origin == "folder"
    assert data.duplicates == 3
    # All copies are trained on, or one of them is tested on.
    assert len(data.train) + len(data.test_files) == (10 if len(data.train) == 7 else 13)
    rows = list(csv.DictReader(io.StringIO(manifest([data], {"celeba": folder}))))
    copies = [row for row in rows if row["copies"] == "4"]
    assert {row["path"] for row in copies} == {"000.png", *(f"copy-{k}.png" for k in range(3))}
    assert len({row["side"] for row in copies}) == 1


def test_unreadable_files_are_counted_and_too_few_images_are_an_error(
    image_folder: Callable[..., Path],
) -> None:
    folder = image_folder("celeba", 5)
    (folder / "broken.jpg").write_text("no")
    data = load_domain(CELEBA, folder, **SETTINGS)
    assert [u.path.name for u in data.unreadable] == ["broken.jpg"]
    for name in ("000", "001"):
        (folder / f"{name}.png").unlink()
    with pytest.raises(InputError, match=r"3 usable images of 4.*broken.jpg.*--data celeba=DIR"):
        load_domain(CELEBA, folder, **SETTINGS)


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 usable images of 0"):
        load_domain(CELEBA, tmp_path, **SETTINGS)
    with pytest.raises(InputError, match="no folder"):
        load_domain(CELEBA, tmp_path / "nowhere", **SETTINGS)


def test_random_crops_keep_whole_images_within_memory(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("df2k-ost", 10, size=(40, 30))
    kept = load_domain(DF2K_OST, folder, **SETTINGS)
    assert all(f.pixels is not None and f.pixels.shape == (30, 40, 3) for f in kept.train)
    bare = load_domain(DF2K_OST, folder, **SETTINGS, memory_gb=0)
    assert all(f.pixels is None for f in bare.train)
    assert np.array_equal(kept.test, bare.test)
    assert kept.test.shape == (3, 3, 16, 16)


def test_memory_beyond_the_limit_is_read_again(image_folder: Callable[..., Path]) -> None:
    folder = image_folder("celeba", 10)
    kept, bare = (
        load_domain(CELEBA, folder, **SETTINGS, memory_gb=gigabytes) for gigabytes in (8.0, 0.0)
    )
    assert [f.pixels is None for f in bare.train] == [True] * 7
    assert np.array_equal(kept.test, bare.test)
    for a, b in zip(kept.train, bare.train, strict=True):
        again = prepared_pixels(b, "center", 16)
        assert a.pixels is not None
        assert np.array_equal(a.pixels, again)
    assert all(f.pixels is None for f in kept.test_files)


def test_images_smaller_than_the_model_are_counted(image_folder: Callable[..., Path]) -> None:
    data = load_domain(CELEBA, image_folder("celeba", 6, size=(10, 12)), **SETTINGS)
    assert data.enlarged == 6
    assert data.test.shape[-2:] == (16, 16)


@pytest.mark.parametrize("domain", [CELEBA, DF2K_OST])
def test_stand_ins_are_cut_to_shape(domain: Domain) -> None:
    settings = SETTINGS | {"size": (16, 24)}
    data = load_domain(domain, None, **settings)
    assert data.test.shape[1:] == (3, 16, 24)
    square = load_domain(domain, None, **SETTINGS | {"size": 24})
    assert np.array_equal(data.test, square.test[:, :, 4:-4])
    files = [(file.path, file.sha256) for file in data.test_files]
    assert np.array_equal(read_again(domain, None, files, (16, 24)), data.test)


@pytest.mark.parametrize(("size", "skipped"), [((20, 40), 0), ((40, 20), 0), ((20, 15), 6)])
def test_random_crops_of_images_that_are_too_small(
    image_folder: Callable[..., Path], size: tuple[int, int], skipped: int
) -> None:
    """`size` is Pillow's, width first."""
    folder = image_folder("df2k-ost", 6, size=size)
    image_folder("df2k-ost/more", 6, size=(32, 32), seed=1)
    data = load_domain(DF2K_OST, folder, **SETTINGS | {"size": (16, 20)})
    assert data.test.shape[-2:] == (16, 20)
    assert len(data.unreadable) == skipped


@pytest.mark.parametrize("name", ["my_cats", "a/b", "a+b", "", "Cats"])
def test_domain_names_are_plain(name: str) -> None:
    with pytest.raises(InputError, match="domain name"):
        Domain(name, "")


def test_a_stand_in_of_the_wrong_shape_is_named() -> None:
    flat = Domain("flat", "", standin=lambda size, seed: np.zeros((size, size), dtype=np.uint8))
    with pytest.raises(InputError, match=r"flat drew uint8 \(16, 16\)"):
        load_domain(flat, None, **SETTINGS)


def test_standins_are_labelled() -> None:
    data = load_domain(CELEBA, None, **SETTINGS)
    assert (data.origin, data.label) == ("stand-in", "celeba (stand-in)")
    assert (len(data.train), len(data.test)) == (14, 6)


def test_a_domain_without_stand_in_needs_a_folder() -> None:
    with pytest.raises(InputError, match="--data cats=DIR"):
        load_domain(Domain("cats", "cats"), None, **SETTINGS)
