"""What a run has found so far, in memory and in its folder: everything but the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cl_sr.avalanche import BaseLogger
from cl_sr.data.folder import picture_of
from cl_sr.data.samples import Samples, TestSamples
from cl_sr.degradations.pixels import to_floats
from cl_sr.degradations.resize import upsample
from cl_sr.evaluation.draws import Draws, draws_from_csv, draws_to_csv
from cl_sr.evaluation.matrix import BICUBIC, INIT, ForgettingMatrix, to_csv
from cl_sr.evaluation.metrics import eight_bit
from cl_sr.evaluation.windows import WindowError, denoising_errors, errors_to_csv, windows
from cl_sr.runs.folder import RunFolder
from cl_sr.runs.loading import Loaded
from cl_sr.runs.record import Record
from cl_sr.training.loggers import JSONLinesLogger, SampleRecorder
from cl_sr.training.metrics import DomainQuality
from cl_sr.training.rng import isolated_rng
from cl_sr.training.state import memory_bytes
from cl_sr.training.template import DiffusionTemplate

Values = dict[str, list[float]]  # by metric, an image after the other


class Results(BaseLogger):
    """The tables of a run: written anew after each experience, read when a run is resumed.

    Attributes:
        logger: of `metrics.jsonl`.
        recorder: of the sample images.
        qualities: Avalanche's metrics, one an image metric.
    """

    def __init__(self, folder: RunFolder, loaded: Loaded) -> None:
        super().__init__()
        self.folder = folder
        self.loaded = loaded
        sampling = loaded.plan.sampling
        constants = {
            name: {"sampler": sampling.sampler, "steps": sampling.steps, "source": data.origin}
            for name, data in loaded.data.items()
        }
        self.logger = JSONLinesLogger(self._append, constants)
        self.recorder = SampleRecorder(loaded.config.eval.samples, self._write_samples)
        self.qualities = [DomainQuality(metric) for metric in loaded.metrics]
        self._rows: dict[str, dict[str, dict[str, Any]]] = {}  # records by `after` and domain
        self._images: dict[tuple[str, str], Values] = {}
        self._draws: Draws = {}
        self._windows: list[WindowError] = []

    @property
    def loggers(self) -> list[Any]:
        """What Avalanche is to tell of evaluations, in this order."""
        return [self.logger, self.recorder, self]

    def begin(self, learnt: Sequence[str]) -> None:
        """Measure bicubic upsampling, and take up what was found after these experiences."""
        if not self.loaded.config.eval.images:
            return
        with isolated_rng():  # a DataLoader draws a number whenever it begins
            for name, samples in self._test_samples().items():
                self._images[BICUBIC, name] = self._bicubic(name, samples)
        if self.logger.latest:  # a run that is resumed
            before = Record(self.folder.path, self.folder)
            known = {(after, name) for after in (INIT, *learnt) for name in self._judged(after)}
            self._images |= {place: v for place, v in before.images.items() if place in known}
            if self.folder.has("draws.csv"):
                found = draws_from_csv(self.folder.read_text("draws.csv"))
                self._draws = {place: of for place, of in found.items() if place in known}
            self._windows = [e for e in before.windows if (e.after, e.domain) in known]
        self._write([INIT, *learnt] if self.logger.latest else [])

    def missing(self, after: str) -> list[str]:
        """The domains that were not evaluated after an experience: the stream lacked them then."""
        return [name for name in self.loaded.data if name not in self._judged(after)]

    def _judged(self, after: str) -> list[str]:
        return list(self.logger.latest.get(after, {}))

    def after_eval(self, template: Any, metric_values: list[Any]) -> None:
        """Keep the images' metrics of the evaluation before any training."""
        if template.trained_on == INIT:
            self._keep(INIT)
            self._write([INIT])

    def add(self, template: DiffusionTemplate, learnt: str) -> None:
        """What the experience `learnt` took, or none, and what the evaluation after it found."""
        self._write_costs(template, learnt)
        self.measure(template, learnt)

    def measure(self, template: DiffusionTemplate, learnt: str) -> None:
        """What the last evaluation found, after the experience `learnt`, or before any."""
        for name, images in self.recorder.images.items():
            _write_strip(self.folder, name, f"after-{learnt}", images)
        if not self.loaded.config.eval.images:
            return
        self._keep(learnt)
        with isolated_rng():
            self._windows += self._window_errors(template, learnt)
        self._write([INIT, learnt])

    def made_up(self) -> None:
        """Evaluations were made up for: put all in the order of a run that never lacked them."""
        self.folder.write("metrics.jsonl", "".join(f"{line}\n" for line in self.logger.regroup()))

    def _test_samples(self) -> dict[str, TestSamples]:
        """The test images of every domain, by name."""
        loaded, images = self.loaded, self.loaded.config.eval.images
        return {
            name: TestSamples(data.test[:images], number, loaded.degradation)
            for number, (name, data) in enumerate(loaded.data.items())
        }

    def _append(self, line: str) -> None:
        with (self.folder.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _keep(self, after: str) -> None:
        for name in self.recorder.images:  # those that were evaluated
            self._images[after, name] = {q.metric.name: q.images[name] for q in self.qualities}
            self._draws[after, name] = {q.metric.name: q.draws[name] for q in self.qualities}

    def _write_samples(self, domain: str, iteration: int, images: Tensor) -> None:
        _write_strip(self.folder, domain, f"iteration-{iteration:06d}", images)

    def _write(self, rows: Sequence[str]) -> None:
        """Take the rows of the last evaluations after these experiences, and write all."""
        loaded, order = self.loaded, [BICUBIC, INIT, *self.loaded.plan.learnt]
        self._rows |= {row: self.logger.latest[row] for row in rows if row in self.logger.latest}
        self._rows[BICUBIC] = {
            name: {m: fmean(values) for m, values in self._images[BICUBIC, name].items()}
            for name in loaded.data
        }
        matrices = [ForgettingMatrix(m.name, m.higher_is_better) for m in loaded.metrics]
        for after in sorted(self._rows, key=order.index):
            for name, record in self._rows[after].items():
                for matrix in matrices:
                    matrix.record(after, name, record[matrix.metric])
        # In the order of the stream, also where some were made up for.
        places = {place: k for k, place in enumerate(product(order, loaded.data))}
        images = sorted(self._images.items(), key=lambda item: places[item[0]])
        errors = sorted(self._windows, key=lambda error: places[error.after, error.domain])
        self.folder.write("matrix.csv", to_csv(matrices))
        self.folder.write("images.csv", _images_csv(dict(images)))
        self.folder.write("windows.csv", errors_to_csv(errors))
        if loaded.config.eval.draws > 1:
            draws = sorted(self._draws.items(), key=lambda item: places[item[0]])
            self.folder.write("draws.csv", draws_to_csv(dict(draws)))

    def _write_costs(self, template: DiffusionTemplate, learnt: str) -> None:
        """What learning took: no function of the seed, as seconds are the machine's."""
        costs = self.folder.read_json("costs.json") if self.folder.has("costs.json") else {}
        if seconds := template.stopwatch.seconds:
            experts = template.strategy.experts(template.memory)
            costs[learnt] = {
                "iterations": template.budget,
                "seconds": round(seconds[-1], 3),
                "clock": "cpu" if template.device.type == "cpu" else "wall",
                "extra_parameters": experts.extra_parameters if experts else 0,
                "kept_bytes": memory_bytes(template, list(template.learner.state())),
            }
        self.folder.write_json("costs.json", costs)

    def _batches(self, samples: TestSamples) -> Iterator[Samples]:
        """Test images in batches of the evaluation's size."""
        size = self.loaded.config.eval.batch_size
        return (samples.samples(k, k + size) for k in range(0, len(samples), size))

    def _bicubic(self, name: str, samples: TestSamples) -> Values:
        """Bicubic upsampling of a domain, and its images that SR stands between."""
        scale, device = self.loaded.degradation.scale, self.loaded.device
        values: Values = {metric.name: [] for metric in self.loaded.metrics}
        for batch in self._batches(samples):
            bicubic = to_floats(upsample(batch.lr, scale).to(device))
            truth = to_floats(batch.hr.to(device))
            for metric in self.loaded.metrics:
                values[metric.name] += metric.of(bicubic, truth)
        if shown := min(self.loaded.config.eval.samples, len(samples)):
            first = samples.samples(0, shown)
            strips = {"lr": first.lr, "bicubic": upsample(first.lr, scale), "hr": first.hr}
            for column, images in strips.items():
                _write_strip(self.folder, name, column, to_floats(images))
        return values

    @torch.no_grad()
    def _window_errors(self, template: DiffusionTemplate, learnt: str) -> list[WindowError]:
        """The denoising error of every domain in every window of time-steps."""
        restorer, seed = template.restorer(), self.loaded.config.eval.seed
        model, found = restorer.model, []
        if not model.conditional:  # nothing is restored by it alone
            return []
        for name, samples in self._test_samples().items():
            if name not in self.recorder.images:
                continue
            errors: dict[tuple[int, int], list[float]] = {}
            for number, batch in enumerate(self._batches(samples)):
                denoise = restorer.denoiser(batch.lr.to(template.device))
                truth = to_floats(batch.hr.to(template.device))
                diffused = model.encode(truth, denoise.condition)
                for window in windows(model.schedule.steps):
                    errors.setdefault(window, []).extend(
                        denoising_errors(
                            denoise, diffused, model.schedule, window, seed + number
                        ).tolist()
                    )
            found += [
                WindowError(learnt, name, *window, fmean(values))
                for window, values in errors.items()
            ]
        return found


def _images_csv(images: dict[tuple[str, str], Values]) -> str:
    """`after,domain,image,METRIC,...`: every test image's values, in the order of the test side."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = list(next(iter(images.values())))
    writer.writerow(["after", "domain", "image", *names])
    for (after, domain), values in images.items():
        for number, row in enumerate(zip(*(values[name] for name in names), strict=True)):
            writer.writerow([after, domain, number, *row])
    return out.getvalue()


def _write_strip(folder: RunFolder, domain: str, column: str, images: Tensor) -> None:
    """Images `(N, C, H, W)` in [-1, 1] side by side in one PNG."""
    if len(images):
        pixels = eight_bit((images + 1) / 2).to(torch.uint8)
        strip = pixels.permute(2, 0, 3, 1).flatten(1, 2).cpu().numpy()
        path: Path = folder.path / "samples" / domain / f"{column}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture_of(strip).save(path)
