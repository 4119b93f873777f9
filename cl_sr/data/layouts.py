"""Folders that were prepared for super-resolution: the same pictures at several sizes.

The high-resolution side alone is data: enlarged low-resolution images would become test "truth".
Known layouts are told by the names of folders and files, such as `hr_128`, `lr_16` and `sr_16_128`
(the public SR3 code), `DIV2K_train_HR` and `DIV2K_train_LR_bicubic/X4` (`0001x4.png`), `GT` and
`LQ` (BasicSR), or `Canon001_HR.png` beside `Canon001_LR4.png` (RealSR). What else looks like one is
refused.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from cl_sr.data.folder import FORMATS
from cl_sr.errors import InputError

HIGH = r"hr|gt|hq|hrmod|gtmod|high|high_?res|high_?resolution|ground_?truth|sharp|target"
LOW = (
    r"lr|lq|sr|lrbic?x?|lrbd|lrdn|low|low_?res|low_?resolution|bicubic|bic|blur|blurred|blurry|"
    r"input|noisy"
)
# Beside these words: how it was degraded, and parts that were cut out.
BESIDE = r"unknown|mild|difficult|wild|nearest|area|gaussian|gamma|comp|real|x|sub"
WORD = rf"(?<![a-z])(?:{HIGH}|{LOW}|{BESIDE})(?![a-z])"
SIZE = r"(?:x\d+[mdw]?\d*|(?<![a-z0-9])\d+x)"
STEM_END = re.compile(rf"(_s\d+|{SIZE})+$")
STEM_ROLE = re.compile(rf"[_-](?:({HIGH})|({LOW}))[_-]?\d*$")

WHOLE, PARTS, LOWER = 3, 2, 1  # what is left out where the same pictures have a higher one

PAIRS = 16  # of pictures, to tell whether two folders hold the same ones
MOST_FOLDERS = 200  # pairs of them that are looked at


def high_resolution(folder: Path, paths: Sequence[Path]) -> tuple[list[Path], dict[str, int]]:
    """Leaves out what stands beside its own high-resolution images.

    Args:
        folder: of a domain.
        paths: of the images below it.

    Returns:
        Those that are data; and of how many others that are left out, by their sub-folder.

    Raises:
        InputError: sub-folders hold the same names at several sizes, in no layout that is known.
    """
    start = len(folder.parts)
    roles = {path: _role(PurePath(*path.parts[start:])) for path in paths}
    ranks: dict[tuple[str, ...], int] = {}  # the highest of each picture
    for role in roles.values():
        ranks[role.picture] = max(role.rank, ranks.get(role.picture, 0))
    sides = defaultdict(list)
    for path, role in roles.items():
        sides[role.place, role.rank].append(path)
    kept, left_out = set(paths), Counter[str]()
    for (place, rank), files in sides.items():
        if not rank:
            continue
        higher = sum(ranks[roles[path].picture] > rank for path in files)
        others = len({p for p, highest in ranks.items() if highest > rank})
        if 0 < min(len(files), others) <= 2 * higher:
            kept -= set(files)
            left_out[place] += len(files)
    chosen = [path for path in paths if path in kept]
    _check_sizes(folder, chosen)
    return chosen, dict(sorted(left_out.items()))


@dataclass(frozen=True)
class _Role:
    """What an image's path says of it: a rank (0: nothing), where it says so, of which picture."""

    rank: int
    place: str
    picture: tuple[str, ...]


def _role(path: PurePath) -> _Role:
    rank, place, picture = _folder_role(str(path.parent))
    stem = STEM_END.sub("", _lower(path.stem)).rstrip("_-")
    if found := STEM_ROLE.search(stem):
        stem = stem[: found.start()]
        if rank != (said := WHOLE if found[1] else LOWER):
            rank, place = said, str(path.parent / f"*{found[0]}")
    return _Role(rank, place, (*picture, stem))


@cache
def _folder_role(folder: str) -> tuple[int, str, tuple[str, ...]]:
    """Rank, place and, of what names a picture, the part that its folders have."""
    rank, place = 0, "."
    picture = []
    parts = PurePath(folder).parts
    for depth, name in enumerate(parts, start=1):
        words = rest = _lower(name)
        said = rank
        if re.fullmatch(SIZE, words):  # of `LR_bicubic/X4`; `HR/x4` is high
            said, rest = rank or LOWER, ""
        elif re.fullmatch(rf"{SIZE}?_?sub", words):
            said, rest = min(rank or PARTS, PARTS), ""
        elif _has(words, HIGH) or _has(words, LOW):  # the innermost folder knows best
            said = LOWER if _has(words, LOW) else PARTS if _has(words, "sub") else WHOLE
            rest = " ".join(re.sub(rf"{WORD}|[^a-z]+", " ", words).split())
        if rest != words:
            rank, place = said, str(PurePath(*parts[:depth]))
        picture.append(rest)
    return rank, place, tuple(filter(None, picture))


def _has(words: str, which: str) -> bool:
    return re.search(rf"(?<![a-z])(?:{which})(?![a-z])", words) is not None


def _lower(name: str) -> str:
    """`trainHR` as `train_hr`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _check_sizes(folder: Path, paths: Sequence[Path]) -> None:
    """Refuse folders that hold the same names at several sizes.

    Classes whose images are numbered alike do not: their sizes and contents have nothing to do with
    each other.

    Raises:
        InputError: with two of the files.
    """
    names: dict[str, dict[Path, Path]] = defaultdict(dict)
    counts = Counter(path.parent for path in paths)
    for path in paths:
        names[re.sub(rf"{SIZE}$", "", _lower(path.stem))].setdefault(path.parent, path)
    shared: dict[tuple[Path, Path], list[tuple[Path, Path]]] = defaultdict(list)
    for found in names.values():
        # Of many classes each is compared with the next.
        pairs: Iterable[tuple[Path, Path]] = (
            combinations(found, 2) if len(found) <= 6 else pairwise(found)
        )
        for one, other in pairs:
            shared[one, other].append((found[one], found[other]))
    some = list(shared.items())
    for (one, other), files in some[:: -(-len(some) // MOST_FOLDERS) or 1]:
        if 2 * len(files) < min(counts[one], counts[other]) or len(files) < 2:
            continue
        sample = files[:: -(-len(files) // PAIRS)]
        if (sizes := _same_at_two_sizes(sample)) is not None:
            first, second = (file.relative_to(folder) for file in sample[0])
            raise InputError(
                f"{folder}: {first} and {second} are at {sizes[0]} and {sizes[1]} pixels, and so "
                "are others: if one folder is made from the other, give the high-resolution one "
                "alone; if they are different pictures, give them names of their own"
            )


def _same_at_two_sizes(pairs: Sequence[tuple[Path, Path]]) -> tuple[str, str] | None:
    """Whether pairs are the same pictures at two sizes, to all appearance; those of one pair."""
    known = [(one, other) for one, other in (map(_size, pair) for pair in pairs) if one and other]
    different = [(one, other) for one, other in known if one != other]
    if not different or 10 * len(different) < 9 * len(known):
        return None
    if not _in_proportion(different) and not _look_alike(pairs):
        return None
    one, other = different[0]
    return f"{one[0]}x{one[1]}", f"{other[0]}x{other[1]}"


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height, of which a file's first bytes tell; None: it cannot be read."""
    image = _opened(path)
    return None if image is None else image.size


def _opened(path: Path, thumbnail: int = 0) -> Image.Image | None:
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if thumbnail:
                image.draft("L", (8 * thumbnail, 8 * thumbnail))
                return image.convert("L").resize((thumbnail, thumbnail), Image.Resampling.BOX)
            return image
    # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more; they are told
    # where all are read.
    except Exception:
        return None


def _in_proportion(sizes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    """Whether all are larger by the same factor, up to the rounding to pixels."""
    factors = np.array([[a / b for a, b in zip(*pair, strict=True)] for pair in sizes])
    # A side of n pixels was rounded by up to one: its factor is so much off.
    slack = np.array([[1 / min(a, b) for a, b in zip(*pair, strict=True)] for pair in sizes])
    away = np.log(factors)
    return bool((abs(away - np.median(away)) <= 1.5 * slack).all())


def _look_alike(pairs: Sequence[tuple[Path, Path]]) -> bool:
    """Whether the two of a pair are closer to each other than to those of other pairs."""
    thumbnails = [[_opened(path, 8) for path in pair] for pair in pairs]
    known = [pair for pair in thumbnails if None not in pair]
    if len(known) < 2:
        return False
    values = np.array([[np.asarray(image, float) for image in pair] for pair in known])
    distances = abs(values[:, None, 0] - values[None, :, 1]).mean(axis=(2, 3))
    own = np.eye(len(known), dtype=bool)
    return bool(distances[own].mean() < 0.6 * distances[~own].mean())
