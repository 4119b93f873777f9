"""How much better test images do that are copies of training images: what a random split leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cl_sr.evaluation.statistics import Array, mean
from cl_sr.reporting.tables import Table


def leak_table(
    measured: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[float], Sequence[float]]],
) -> Table:
    """The PSNR of copies and of the other test images, over bicubic upsampling.

    Over bicubic, as images with copies may be easier ones.

    Args:
        measured: by name, the hashes of the images that were trained on and of those tested on,
            and the test images' PSNR and that of bicubic upsampling.
    """
    rows = []
    for name, (trained, tested, ours, bicubic) in measured.items():
        over: Array = np.asarray(ours) - np.asarray(bicubic)
        copies = np.isin(tested[: len(over)], trained)
        for kind, chosen in (("copies of training images", copies), ("others", ~copies)):
            if chosen.any():
                figure = mean({"": over[chosen]}).text(2, sign=True)
                rows.append([f"{name}, {kind}", str(chosen.sum()), figure])
    return Table("What leaks", ["test images", "number", "PSNR vs bicubic (dB)"], rows)
