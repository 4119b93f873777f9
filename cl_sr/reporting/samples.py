"""The sample images of runs: strips on disk, columns of a grid, error maps."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from cl_sr.image_size import sides

LOW, BICUBIC_NAME, HIGH = "low resolution", "bicubic", "high resolution"
ERROR_FULL = 128  # of 255: where the colours of an error map end


@dataclass(frozen=True)
class Strips:
    """Sample images of one domain.

    Attributes:
        label: what to call the domain.
        columns: by heading, uint8 images `(H, W, 3)`, the k-th of every column of one picture.
    """

    label: str
    columns: dict[str, list[np.ndarray]]

    @property
    def count(self) -> int:
        return max((len(images) for images in self.columns.values()), default=0)

    def with_errors(self, names: Sequence[str]) -> Strips:
        """Columns of error maps after these, against the high-resolution images."""
        truth = self.columns.get(HIGH, [])
        columns = dict(self.columns)
        for name in names:
            pairs = zip(self.columns.get(name, []), truth, strict=False)
            columns[f"error of {name}"] = [error_map(image, true) for image, true in pairs]
        return Strips(self.label, columns)


def read_strips(
    label: str,
    samples: Path,
    domain: str,
    between: Mapping[str, Path],
    size: int | Sequence[int],
) -> Strips:
    """The strips of a run, or of several that have the same test images.

    Args:
        label: what to call the domain.
        samples: of the run that low resolution, bicubic and truth are taken from.
        domain: name of the folder in it.
        between: by heading, the file of each column that stands between bicubic and truth.
        size: H = W of the high-resolution images, or H and W.
    """
    own = samples / domain
    files = {LOW: own / "lr.png", BICUBIC_NAME: own / "bicubic.png", **between}
    files[HIGH] = own / "hr.png"
    columns = {heading: _strip(path, *sides(size)) for heading, path in files.items()}
    return Strips(label, {heading: images for heading, images in columns.items() if images})


def _strip(path: Path, high: int, wide: int) -> list[np.ndarray]:
    """The images that stand side by side in a strip; none where there is no good file.

    Those of low resolution have the same ratio of H and W.
    """
    if not path.is_file():
        return []
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    # Damaged files make Pillow raise OSError, SyntaxError, struct.error and more.
    except Exception as error:
        warnings.warn(f"left out {path}: {error}", stacklevel=2)
        return []
    height, width = pixels.shape[:2]
    count, rest = divmod(width * high, height * wide)
    if rest or not count:
        kind = "squares" if high == wide else f"images in the ratio of {wide}x{high}"
        warnings.warn(f"left out {path}: {width}x{height} is no row of {kind}", stacklevel=2)
        return []
    return np.split(pixels, count, axis=1)


def error_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The mean absolute error of the channels in colours: dark none, bright `ERROR_FULL` or more.

    Cividis: in grey and for every colour vision, brighter is more.
    """
    error = np.abs(image.astype(float) - truth.astype(float)).mean(axis=2)
    mapped = colormaps["cividis"](np.clip(error / ERROR_FULL, 0, 1))[..., :3]
    return np.asarray(np.rint(255 * mapped), dtype=np.uint8)


def data_address(image: np.ndarray) -> str:
    """An image as a PNG in an address, for a page that needs no other files."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
