"""From a domain to training and test images: read or draw, split, keep in memory."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cl_sr.data.domains import Domain
from cl_sr.data.folder import (
    ImageFile,
    Track,
    Unreadable,
    center_crop,
    digest,
    find_images,
    fit,
    of_channels,
    picture_of,
    read_all,
    read_pixels,
    untracked,
)
from cl_sr.data.layouts import high_resolution
from cl_sr.errors import InputError
from cl_sr.image_size import ImageSize, sides

TRAIN_SHARE = 0.7
FEWEST_IMAGES = 4  # distinct ones: fewer cannot give both sides a meaning

Origin = Literal["stand-in", "folder"]
Side = Literal["test", "validation"]
Split = Literal["content", "random"]


@dataclass(frozen=True)
class DomainData:
    """The images of one domain, split; test images are in a seeded random order.

    Attributes:
        domain: what they show.
        origin: `folder` (real images) or `stand-in` (drawn by code).
        size: H and W of the high-resolution images.
        train: images to train on. Their pixels are `(H, W, C)` in a domain with `center`
            crops, and whole images with `random` crops; None where memory would not hold them.
        test: uint8 `(N, C, H, W)`, fixed crops.
        test_files: what `test` was made from, in its order, without pixels.
        duplicates: how many images are exact copies of another.
        leaked: how many test images have a copy that is trained on; none in a split by content.
        unreadable: files that were skipped.
        side: what `test` is: the test side, or a validation part of the training side.
        channels: of the images: 3, or 1 for grey ones.
        left_out: how many files are the same images at other sizes, by their sub-folder
            (`cl_sr.data.layouts`): they are not read.
    """

    domain: Domain
    origin: Origin
    size: tuple[int, int]
    train: list[ImageFile]
    test: Tensor
    test_files: list[ImageFile]
    duplicates: int
    leaked: int
    unreadable: list[Unreadable]
    side: Side = "test"
    channels: int = 3
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def enlarged(self) -> int:
        """How many images are smaller than `size`, and so were enlarged."""
        height, width = self.size
        files = [*self.train, *self.test_files]
        return sum(file.height < height or file.width < width for file in files)

    @property
    def label(self) -> str:
        """The domain's name, with the word stand-in where it is one."""
        suffix = " (stand-in)" if self.origin == "stand-in" else ""
        return self.domain.name + suffix


def load_domain(
    domain: Domain,
    folder: Path | None,
    *,
    size: ImageSize,
    scale: int,
    channels: int = 3,
    standin_images: int = 1000,
    how: Split = "content",
    split_seed: int = 0,
    side: Side = "test",
    share: float = 1.0,
    copies: float = 0.0,
    memory_gb: float = 8.0,
    track: Track = untracked,
) -> DomainData:
    """Read a domain's folder, or draw its stand-in where `folder` is None, and split it.

    Args:
        domain: the domain.
        folder: where its images are, at any depth.
        size: of high-resolution images: H = W, or H and W.
        scale: high over low resolution.
        channels: 3, or 1 to make them grey.
        standin_images: how many to draw.
        how: `content` keeps all copies of an image on one side, `random` does not.
        split_seed: of the 70/30 split.
        side: `validation` leaves the test side alone and splits the training side once more.
        share: of the training images to train on.
        copies: how many copies to add, drawn at random, as a share of the images.
        memory_gb: what training images may take; those beyond are read again at each access.
        track: shows how far reading or drawing has come.

    Raises:
        InputError: the folder is missing, too few of its images can be used, or it has the same
            names at several sizes; or there is neither a folder nor a stand-in.
    """
    unreadable: list[Unreadable] = []
    left_out: dict[str, int] = {}
    both = sides(size)
    if folder is not None:
        paths, left_out = _find(domain, folder)
        files, unreadable = _from_files(
            domain, folder, paths, both, scale, channels, memory_gb, track
        )
    else:
        files = _standins(domain, both, channels, standin_images, track)
    if copies:
        random = np.random.default_rng(split_seed)
        files += [files[k] for k in random.integers(0, len(files), round(copies * len(files)))]
    divide = split if how == "content" else random_split
    train, test_files = divide(files, split_seed)
    if side == "validation":
        train, test_files = divide(train, split_seed)
    if how == "content":  # a copy tells nothing that its image does not
        test_files = list({file.sha256: file for file in reversed(test_files)}.values())[::-1]
    train = train[: math.ceil(round(share * len(train), 6))]
    seen = {file.sha256 for file in train}
    whole = [prepared_pixels(file, domain.crop, both, channels) for file in test_files]
    test = np.stack([center_crop(pixels, both) for pixels in whole])
    return DomainData(
        domain=domain,
        origin="stand-in" if folder is None else "folder",
        size=both,
        channels=channels,
        train=train,
        test=torch.from_numpy(test).permute(0, 3, 1, 2).contiguous(),
        test_files=[replace(file, pixels=None) for file in test_files],
        duplicates=len(files) - len({file.sha256 for file in files}),
        leaked=sum(file.sha256 in seen for file in test_files),
        unreadable=unreadable,
        left_out=left_out,
        side=side,
    )


def _find(domain: Domain, folder: Path) -> tuple[list[Path], dict[str, int]]:
    """The images of a folder, and how many files are left out as other sizes of them."""
    remedy = f"give another with --data {domain.name}=DIR"
    if not folder.is_dir():
        raise InputError(f"no folder {folder} for the domain {domain.name}: {remedy}")
    try:
        return high_resolution(folder, find_images(folder))
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror}; {remedy}") from error


def _from_files(
    domain: Domain,
    folder: Path,
    paths: list[Path],
    size: tuple[int, int],
    scale: int,
    channels: int,
    memory_gb: float,
    track: Track,
) -> tuple[list[ImageFile], list[Unreadable]]:
    budget = memory_gb * 1e9

    def prepare(pixels: np.ndarray) -> np.ndarray | None:
        nonlocal budget
        kept = _prepare(pixels, domain.crop, size)
        budget -= kept.nbytes
        return kept if budget >= 0 else None

    low = max(2, size[0] // scale), max(2, size[1] // scale)
    smallest = size if domain.crop == "random" else low
    files, unreadable = read_all(paths, smallest, prepare, track, channels)
    if len({file.sha256 for file in files}) < FEWEST_IMAGES:
        found = f"{len(files)} usable images of {len(paths)}"
        why = f" ({skipped(unreadable)})" if unreadable else ""
        raise InputError(
            f"{folder}: {found}, at least {FEWEST_IMAGES} different ones are needed for the "
            f"domain {domain.name}{why}: give another with --data {domain.name}=DIR"
        )
    return files, unreadable


def skipped(unreadable: Sequence[Unreadable], names: int = 3) -> str:
    """One line on skipped files: their count and the first names with the reasons."""
    first = "; ".join(f"{u.path.name!r}: {u.reason}" for u in unreadable[:names])
    more = "; ..." if len(unreadable) > names else ""
    return f"{len(unreadable)} unreadable: {first}{more}"


def _standins(
    domain: Domain, size: tuple[int, int], channels: int, count: int, track: Track
) -> list[ImageFile]:
    if domain.standin is None:
        raise InputError(
            f"the domain {domain.name} has no stand-in: give its images with "
            f"--data {domain.name}=DIR"
        )
    files = []
    for seed in track(range(count), count):
        pixels = _standin(domain, size, channels, seed)
        side, kept = len(pixels), _prepare(pixels, domain.crop, size)
        files.append(ImageFile(f"stand-in-{seed:05d}", digest(pixels), side, side, kept))
    return files


def _standin(domain: Domain, size: tuple[int, int], channels: int, seed: int) -> np.ndarray:
    """Stand-ins are drawn as squares; random crops need some room around them."""
    assert domain.standin is not None
    side = max(size) if domain.crop == "center" else 2 * max(size)
    pixels = domain.standin(side, seed)
    if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
        raise InputError(
            f"the stand-in of the domain {domain.name} drew {pixels.dtype} "
            f"{pixels.shape} instead of uint8 {(side, side, 3)}"
        )
    return pixels if channels == 3 else of_channels(picture_of(pixels), channels)


def _prepare(pixels: np.ndarray, crop: str, size: ImageSize) -> np.ndarray:
    """What training keeps of an image: its middle at the right size, or all of it."""
    return fit(pixels, size) if crop == "center" else pixels


def prepared_pixels(file: ImageFile, crop: str, size: ImageSize, channels: int = 3) -> np.ndarray:
    """What training keeps of an image, read again where memory does not hold it."""
    if file.pixels is not None:
        return file.pixels
    return _prepare(read_pixels(Path(file.path), channels), crop, size)


def read_again(
    domain: Domain,
    folder: Path | None,
    files: Sequence[tuple[str, str]],
    size: ImageSize,
    channels: int = 3,
) -> Tensor:
    """Some images that were prepared before, as they are tested: uint8 `(N, C, H, W)`.

    Args:
        domain: of the images.
        folder: where they are; None: they are stand-ins.
        files: of each its path below the folder (or a stand-in's name) and its content hash.
        size: H = W, or H and W.
        channels: 3, or 1 for grey images.

    Raises:
        InputError: one is gone, or is another now.
    """
    crops, both = [], sides(size)
    for path, sha256 in files:
        try:
            if folder is None:
                pixels = _standin(domain, both, channels, int(path.rpartition("-")[2]))
            else:
                pixels = read_pixels(folder / path, channels)
            same = digest(pixels) == sha256
        # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
        except Exception as error:
            raise InputError(f"{domain.name}: {path} cannot be read any more: {error}") from error
        if not same:
            raise InputError(f"{domain.name}: {path} is no longer the image that it was")
        crops.append(center_crop(_prepare(pixels, domain.crop, both), both))
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def split(files: Sequence[ImageFile], seed: int) -> tuple[list[ImageFile], list[ImageFile]]:
    """70 % to train on, 30 % to test on, by content: copies of an image are on one side.

    The order depends on `seed` and the contents alone, not on names or on the machine.
    """

    def rank(sha256: str) -> str:
        return hashlib.sha256(f"{seed}:{sha256}".encode()).hexdigest()

    distinct = sorted({file.sha256 for file in files}, key=rank)
    train_side = set(distinct[: round(len(distinct) * TRAIN_SHARE)])
    ordered = sorted(files, key=lambda file: (rank(file.sha256), file.path))
    train = [file for file in ordered if file.sha256 in train_side]
    return train, [file for file in ordered if file.sha256 not in train_side]


def random_split(files: Sequence[ImageFile], seed: int) -> tuple[list[ImageFile], list[ImageFile]]:
    """70 % to train on, 30 % to test on, by file, as most papers split.

    Of an image with copies some may be trained on and others tested on. The order depends on `seed`
    and the order of the files alone.
    """
    order = np.random.default_rng(seed).permutation(len(files))
    shuffled = [files[k] for k in order]
    count = round(len(files) * TRAIN_SHARE)
    return shuffled[:count], shuffled[count:]


def manifest(domains: Sequence[DomainData], folders: dict[str, Path]) -> str:
    """CSV of every image: domain, side, path below its folder, content hash, size, copies."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["domain", "side", "path", "sha256", "width", "height", "copies"])
    for data in domains:
        root = folders.get(data.domain.name)
        copies = Counter(file.sha256 for file in [*data.train, *data.test_files])
        for side, files in (("train", data.train), (data.side, data.test_files)):
            for file in files:
                path = os.path.relpath(file.path, root) if root else file.path
                row = [path, file.sha256, file.width, file.height, copies[file.sha256]]
                writer.writerow([data.domain.name, side, *row])
    return out.getvalue()
