"""Folders of runs with figures made up by hand."""

import json
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import to_csv
from cl_sr.runs.folder import RunFolder

ROWS = {
    "bicubic": (20.5, 16.25),
    "init": (18.0, 15.0),
    "celeba": (23.25, 15.5),
    "animef": (19.0, 17.75),
}


def make_run(path: Path, state: str = "finished") -> RunFolder:
    """A run folder with figures made up by hand."""
    folder = RunFolder.create(path, overwrite=False)
    config = {
        "stream": "celeba-anime",
        "strategy": "finetune",
        "seed": 3,
        "data": {"kernel": "bicubic", "scale": 4, "size": 16},
        "diffusion": {"steps": 2000},
        "eval": {"protocol": "rgb8", "sampler": "ddim", "steps": 5, "seed": 0, "samples": 2},
    }
    folder.write("config.yaml", yaml.safe_dump(config))
    folder.write_json(
        "env.json",
        {
            "data": {
                "celeba": {
                    "source": "stand-in",
                    "duplicates": 12,
                    "unreadable": 3,
                    "left_out": {"lr_8": 4, "sr_8_32": 5},
                },
                "animef": {"source": "stand-in", "duplicates": 0, "unreadable": 0},
            },
            "metrics": {"psnr": True, "ssim": True},
        },
    )
    folder.write_json("status.json", {"state": state, "iteration": 10, "of": 20})
    matrices, records = [ForgettingMatrix("psnr"), ForgettingMatrix("ssim")], []
    for after, values in ROWS.items():
        for domain, value in zip(("celeba", "animef"), values, strict=True):
            matrices[0].record(after, domain, value)
            matrices[1].record(after, domain, value / 40)
            if after != "bicubic":
                records.append(
                    {
                        "iteration": {"init": 0, "celeba": 10, "animef": 20}[after],
                        "experience_iteration": 10,
                        "trained_on": after,
                        "domain": domain,
                        "psnr": value,
                        "ssim": value / 40,
                        "n": 64,
                        "sampler": "ddim",
                        "steps": 5,
                    }
                )
    folder.write("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    folder.write("matrix.csv", to_csv(matrices))
    for domain in ("celeba", "animef"):
        (folder.path / "samples" / domain).mkdir(parents=True)
        for column in ("lr", "bicubic", "hr", "after-celeba", "after-animef"):
            side = 4 if column == "lr" else 16
            strip = np.random.default_rng(0).integers(0, 256, (side, 2 * side, 3), dtype=np.uint8)
            Image.fromarray(strip).save(folder.path / "samples" / domain / f"{column}.png")
    return folder
