"""Folders of finished runs, as comparisons read them, with figures made up by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from cl_sr.config import read_preset, resolve
from cl_sr.evaluation import ForgettingMatrix
from cl_sr.evaluation.matrix import to_csv

Values = dict[tuple[str, str], list[float]]
Write = Callable[..., Path]

# PSNR of two images of each domain, after each experience.
FINETUNE: Values = {
    ("bicubic", "celeba"): [20.0, 22.0],
    ("bicubic", "animef"): [17.0, 18.0],
    ("celeba", "celeba"): [22.0, 24.0],
    ("celeba", "animef"): [17.0, 19.0],
    ("animef", "celeba"): [20.0, 21.0],
    ("animef", "animef"): [18.0, 20.0],
}
BETTER = FINETUNE | {
    ("animef", "celeba"): [22.0, 23.5],
    ("animef", "animef"): [17.5, 20.0],
}
JOINT: Values = {
    ("bicubic", "celeba"): [20.0, 22.0],
    ("bicubic", "animef"): [17.0, 18.0],
    ("celeba+animef", "celeba"): [23.0, 25.0],
    ("celeba+animef", "animef"): [18.0, 22.0],
}
# Of three domains: learning the second spoils the third and improves the first.
THREE: Values = {
    ("bicubic", "celeba"): [20.0, 22.0],
    ("bicubic", "animef"): [17.0, 18.0],
    ("bicubic", "df2k-ost"): [19.0, 20.0],
    ("celeba", "celeba"): [22.0, 24.0],
    ("celeba", "animef"): [17.0, 19.0],
    ("celeba", "df2k-ost"): [18.0, 20.0],
    ("animef", "celeba"): [23.0, 24.0],
    ("animef", "animef"): [19.0, 21.0],
    ("animef", "df2k-ost"): [14.0, 15.0],
    ("df2k-ost", "celeba"): [21.0, 22.5],
    ("df2k-ost", "animef"): [18.0, 18.5],
    ("df2k-ost", "df2k-ost"): [20.0, 21.0],
}
ONE: Values = {
    ("bicubic", "imagenet"): [20.0, 22.0],
    ("imagenet", "imagenet"): [21.0, 23.5],
}


def writer(tmp_path: Path) -> Write:
    """What writes the folder of a finished run below `tmp_path / "runs"`."""

    def make(
        name: str,
        strategy: str,
        values: Values,
        seed: int = 0,
        seconds: float = 10.0,
        kept: int = 0,
        errors: tuple[float, float] = (0.1, 0.1),
        source: str = "stand-in",
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        config = read_preset("demo") | {"strategy": strategy, "seed": seed}
        overrides = [f"{key.replace('__', '.')}={value}" for key, value in changes.items()]
        (folder / "config.yaml").write_text(resolve(config, overrides).to_yaml())
        (folder / "status.json").write_text('{"state": "finished", "iteration": 1, "of": 1}')
        domains = list(dict.fromkeys(domain for _, domain in values))
        rows = list(dict.fromkeys(after for after, _ in values))[1:]
        change(
            folder / "env.json",
            data={d: {"source": source, "duplicates": 0, "unreadable": 0} for d in domains},
            manifest_sha256="x",
            metrics={"psnr": True},
        )
        hashes = [f"{domain},test,{'abc'[k]}" for k, domain in enumerate(domains)]
        write_lines(folder / "manifest.csv", ["domain,side,sha256", *hashes])
        lines, matrix = ["after,domain,image,psnr"], ForgettingMatrix("psnr")
        for (after, domain), images in values.items():
            lines += [f"{after},{domain},{k},{value}" for k, value in enumerate(images)]
            matrix.record(after, domain, fmean(images))
        write_lines(folder / "images.csv", lines)
        (folder / "matrix.csv").write_text(to_csv([matrix]))
        places = [(k, after, 5) for k, after in enumerate(rows)]
        if len(rows) > 1:  # and once within the last experience
            places.append((len(rows) - 1, rows[-1], 2))
        records = [
            {
                "iteration": 5 * k + done,
                "experience_iteration": done,
                "trained_on": after,
                "domain": domain,
                "psnr": matrix.rows[after][domain],
                "n": 2,
                "sampler": "ddim",
                "steps": 5,
            }
            for k, after, done in places
            for domain in domains
        ]
        write_lines(folder / "metrics.jsonl", list(map(json.dumps, records)))
        costs = {
            row: {
                "seconds": seconds,
                "iterations": 5,
                "extra_parameters": 3 * k,
                "kept_bytes": kept if k == 0 else 77,
            }
            for k, row in enumerate(rows)
        }
        change(folder / "costs.json", **costs)
        windows = ["after,domain,start,stop,error"]
        if len(rows) > 1:
            first, last = rows[0], rows[-1]
            windows += [f"{first},{first},0,200,{errors[0]}", f"{last},{first},0,200,{errors[1]}"]
        write_lines(folder / "windows.csv", windows)
        return folder

    return make


def write_lines(file: Path, lines: list[str]) -> None:
    file.write_text("\n".join(lines) + "\n")


def drop(file: Path, beginning: str) -> None:
    """Take the lines that begin so out of a file."""
    kept = [line for line in file.read_text().splitlines() if not line.startswith(beginning)]
    write_lines(file, kept)


def change(file: Path, **values: Any) -> None:
    """Put values into a JSON file; a new one, where there is none."""
    before = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(before | values))


def other_images(run: Path) -> Path:
    """The same run, tested on other images of animef."""
    lines = ["domain,side,sha256", "celeba,test,a", "animef,test,c", "animef,test,d"]
    write_lines(run / "manifest.csv", lines)
    change(run / "env.json", manifest_sha256="y")
    return run


def write_sweep(folder: Path, members: dict[str, dict[str, Any]], keys: list[str]) -> Path:
    """What makes a folder of runs a sweep."""
    description = {"name": "mine", "title": "Mine", "keys": keys, "baseline": {}}
    (folder / "sweep.json").write_text(json.dumps(description | {"members": members}))
    return folder
