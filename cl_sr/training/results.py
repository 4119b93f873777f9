"""What a run has found so far, in memory and in its folder: everything but the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from avalanche.logging import BaseLogger
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from cl_sr.data.pairs import TestPairs, unpack
from cl_sr.data.resize import downsample
from cl_sr.diffusion import Denoiser
from cl_sr.evaluation.avalanche_metrics import DomainQuality
from cl_sr.evaluation.loggers import JSONLinesLogger, SampleRecorder
from cl_sr.evaluation.matrix import BICUBIC, INIT, ForgettingMatrix
from cl_sr.evaluation.metrics import eight_bit
from cl_sr.evaluation.windows import (
    WindowError,
    denoising_errors,
    errors_from_csv,
    errors_to_csv,
    windows,
)
from cl_sr.training.rng import isolated_rng
from cl_sr.training.run_folder import RunFolder
from cl_sr.training.state import memory_bytes

if TYPE_CHECKING:
    from cl_sr.training.run import Plan
    from cl_sr.training.template import SR3Template

Values = dict[str, list[float]]  # by metric, an image after the other


class Results(BaseLogger):
    """The tables of a run: written anew after each experience, read when a run is resumed.

    Attributes:
        logger: of `metrics.jsonl`.
        recorder: of the sample images.
        qualities: Avalanche's metrics, one an image metric.
    """

    def __init__(self, folder: RunFolder, plan: Plan) -> None:
        super().__init__()
        self.folder = folder
        self.plan = plan
        sampler, steps = plan.strategy.sampler(plan.config.eval)
        constants = {
            name: {"sampler": sampler, "steps": steps, "source": data.source}
            for name, data in plan.data.items()
        }
        self.logger = JSONLinesLogger(folder.append_metrics, constants)
        self.recorder = SampleRecorder(plan.config.eval.samples, self._write_samples)
        self.qualities = [DomainQuality(metric) for metric in plan.metrics]
        self._matrices = [ForgettingMatrix(m.name, m.higher_is_better) for m in plan.metrics]
        self._images: dict[tuple[str, str], Values] = {}
        self._windows: list[WindowError] = []

    def begin(self, learnt: Sequence[str]) -> None:
        """Measure bicubic upsampling, and take up what was found after these experiences."""
        if not self.plan.config.eval.images:
            return
        with isolated_rng():  # a DataLoader draws a number whenever it begins
            for number, name in enumerate(self.plan.data):
                self._images[BICUBIC, name] = self._bicubic(number, name)
        if self.logger.latest:  # a run that is resumed
            before, rows = self.folder.images().items(), (INIT, *learnt)
            self._images |= {place: values for place, values in before if place[0] in rows}
            found = errors_from_csv(self.folder.read_text("windows.csv"))
            self._windows = [error for error in found if error.after in learnt]
        self._write([INIT, *learnt] if self.logger.latest else [])

    def after_eval(self, strategy: Any, metric_values: list[Any]) -> None:
        """Keep the images' metrics of the evaluation before any training."""
        if strategy.trained_on == INIT:
            self._keep(INIT)
            self._write([INIT])

    def add(self, template: SR3Template, learnt: str) -> None:
        """What the last evaluation found, after the experience `learnt`, or before any."""
        for name, images in self.recorder.images.items():
            _write_strip(self.folder, name, f"after-{learnt}", images)
        self._write_costs(template, learnt)
        if not self.plan.config.eval.images:
            return
        self._keep(learnt)
        with isolated_rng():
            self._windows += self._window_errors(template, learnt)
        self._write([INIT, learnt])

    def _keep(self, after: str) -> None:
        for name in self.plan.data:
            self._images[after, name] = {q.metric.name: q.images[name] for q in self.qualities}

    def _write_samples(self, domain: str, iteration: int, images: Tensor) -> None:
        _write_strip(self.folder, domain, f"iteration-{iteration:06d}", images)

    def _write(self, rows: Sequence[str]) -> None:
        """Take the rows of the last evaluations after these experiences, and write all."""
        for name in self.plan.data:
            bicubic = self._images[BICUBIC, name]
            self._record(BICUBIC, name, {m: fmean(values) for m, values in bicubic.items()})
        for after in dict.fromkeys(rows):
            for name, record in self.logger.latest.get(after, {}).items():
                self._record(after, name, record)
        self.folder.write_matrices(self._matrices)
        self.folder.write("images.csv", _images_csv(self._images))
        self.folder.write("windows.csv", errors_to_csv(self._windows))

    def _record(self, after: str, domain: str, values: dict[str, Any]) -> None:
        for matrix in self._matrices:
            matrix.record(after, domain, values[matrix.metric])

    def _write_costs(self, template: SR3Template, learnt: str) -> None:
        """What learning took: no function of the seed, as seconds are the machine's."""
        costs = self.folder.read_json("costs.json") if self.folder.has("costs.json") else {}
        if template.seconds:
            costs[learnt] = {
                "iterations": template.budgets[template.number],
                "seconds": round(template.seconds[-1], 3),
                "clock": "cpu" if template.device.type == "cpu" else "wall",
                "extra_parameters": template.strategy.extra_parameters(template.memory),
                "kept_bytes": memory_bytes(template),
            }
        self.folder.write_json("costs.json", costs)

    def _bicubic(self, number: int, name: str) -> Values:
        """Bicubic upsampling of a domain, and its images that SR stands between."""
        config, data = self.plan.config, self.plan.data[name]
        pairs = TestPairs(data, number, config.data.scale, config.data.kernel, config.eval.images)
        values: Values = {metric.name: [] for metric in self.plan.metrics}
        for packed, _ in DataLoader(pairs, config.eval.batch_size):
            bicubic, image = unpack(packed.to(self.plan.device))
            for metric in self.plan.metrics:
                values[metric.name] += metric.of(bicubic, image)
        if samples := min(config.eval.samples, len(pairs)):
            bicubic, image = unpack(torch.stack([pairs[k][0] for k in range(samples)]))
            low = downsample(data.test[:samples], config.data.scale, config.data.kernel)
            for column, images in (("lr", low / 127.5 - 1), ("bicubic", bicubic), ("hr", image)):
                _write_strip(self.folder, name, column, images)
        return values

    @torch.no_grad()
    def _window_errors(self, template: SR3Template, learnt: str) -> list[WindowError]:
        """The denoising error of every domain in every window of time-steps."""
        config, model = self.plan.config, template.model
        if not model.conditional:  # nothing is restored by it alone
            return []
        template.inference_net.eval()
        found = []
        for number, name in enumerate(self.plan.data):
            pairs = TestPairs(
                self.plan.data[name],
                number,
                config.data.scale,
                config.data.kernel,
                config.eval.images,
            )
            errors: dict[tuple[int, int], list[float]] = {}
            for first, (packed, _) in enumerate(DataLoader(pairs, config.eval.batch_size)):
                low = downsample(packed[:, 3:], config.data.scale, config.data.kernel)
                shown = low.to(template.device) / 127.5 - 1
                net = template.strategy.denoiser(template, template.memory, shown)
                denoise = Denoiser(net, model.parametrization, template.autocast)
                condition, image = unpack(packed.to(template.device))
                for window in windows(model.schedule.steps):
                    errors.setdefault(window, []).extend(
                        denoising_errors(
                            denoise,
                            condition,
                            image,
                            model.schedule,
                            model.parametrization,
                            window,
                            seed=config.eval.seed + first,
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
    """Images `(N, 3, H, W)` in [-1, 1] side by side in one PNG."""
    if len(images):
        pixels = eight_bit((images + 1) / 2).to(torch.uint8)
        path: Path = folder.path / "samples" / domain / f"{column}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(2, 0, 3, 1).flatten(1, 2).cpu().numpy()).save(path)
