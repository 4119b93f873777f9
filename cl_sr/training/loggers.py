"""Avalanche loggers: the metrics as JSON lines, and the sample images of the report."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cl_sr.avalanche import BaseLogger
from cl_sr.errors import Diverged

# The fields that tell one evaluation from another.
EVALUATION = ("iteration", "experience", "experience_iteration", "trained_on")


class JSONLinesLogger(BaseLogger):
    """Writes one JSON object for each evaluation and domain.

    Args:
        write: takes one line, without its line break.
        constants: further fields by domain (`sampler`, `steps`, `source`).

    Attributes:
        latest: the last record by `trained_on` and domain.
        settled: how many `lines` there are without those of an evaluation that is going on.
        lines: all that were written.
    """

    def __init__(
        self, write: Callable[[str], None], constants: Mapping[str, Mapping[str, Any]]
    ) -> None:
        super().__init__()
        self.write = write
        self.constants = constants
        self.latest: dict[str, dict[str, dict[str, Any]]] = {}
        self.settled = 0
        self.lines: list[str] = []

    def read(self, lines: Sequence[str], names: Collection[str]) -> None:
        """Go on after the lines of an earlier process.

        Args:
            lines: as they were written.
            names: of the metrics that each must have.

        Raises:
            ValueError, TypeError, KeyError: they are none of this run.
        """
        for line in lines:
            record = json.loads(line)
            if not all(math.isfinite(record[name]) for name in names):
                raise ValueError(f"no finite numbers in {line}")
            self.latest.setdefault(record["trained_on"], {})[record["domain"]] = record
        self.lines = list(lines)
        self.settled = len(self.lines)

    def regroup(self) -> list[str]:
        """Put lines that were made up for beside those of the same evaluation; all lines."""
        groups: dict[tuple[Any, ...], list[str]] = {}
        for line in self.lines:
            record = json.loads(line)
            groups.setdefault(tuple(map(record.get, EVALUATION)), []).append(line)
        self.lines = [line for group in groups.values() for line in group]
        return self.lines

    def after_eval(self, template: Any, metric_values: list[Any]) -> None:
        self.settled = len(self.lines)

    def after_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        clock = template.clock
        record = {
            "iteration": clock.train_iterations,
            "experience": template.learning.current_experience if template.learning else 0,
            "experience_iteration": clock.train_exp_iterations,
            "trained_on": template.trained_on,
            "domain": domain,
            **{str(value.origin): value.value for value in metric_values},
            "n": len(template.experience.dataset),
            **self.constants.get(domain, {}),
        }
        if not all(math.isfinite(value.value) for value in metric_values):
            raise Diverged(clock.train_iterations, f"the metrics of {domain} are not finite")
        self.latest.setdefault(template.trained_on, {})[domain] = record
        self.write(json.dumps(record))
        self.lines.append(json.dumps(record))


class Silent:
    """Says nothing; without any logger, Avalanche warns."""

    def log_metrics(self, values: Any) -> None: ...


class SampleRecorder(BaseLogger):
    """Keeps the first super-resolved images of each domain's last evaluation.

    Args:
        count: how many.
        write: takes the domain, the iteration and the images of each evaluation.

    Attributes:
        images: by domain, float `(N, 3, H, W)` in [-1, 1], on the CPU.
    """

    def __init__(self, count: int, write: Callable[[str, int, Tensor], None]) -> None:
        super().__init__()
        self.count = count
        self.write = write
        self.images: dict[str, Tensor] = {}

    def before_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        self.images[domain] = torch.empty(0)

    def after_eval_iteration(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        left = self.count - len(self.images[domain])
        if left > 0:
            batch = template.mb_output[: min(left, len(template.mb_x))].cpu()
            self.images[domain] = torch.cat([self.images[domain], batch])

    def after_eval_exp(self, template: Any, metric_values: list[Any]) -> None:
        (domain,) = template.experience.domains
        self.write(domain, template.clock.train_iterations, self.images[domain])
