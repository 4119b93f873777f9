"""Image metrics as Avalanche metrics: one value a domain at each evaluation."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from avalanche.evaluation import GenericPluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metrics import Mean

from cl_sr.data.pairs import unpack
from cl_sr.evaluation.metrics import ImageMetric


class DomainQuality(GenericPluginMetric):
    """The mean of an image metric over a domain's test images, emitted after each domain.

    Reads `mb_output` (super-resolved, [-1, 1]) and `mb_x` (packed) of the template. Each value's
    name is `METRIC/test/DOMAIN`; the value is a Python float, which TensorBoard draws as a curve.

    Attributes:
        images: the values of single images, by domain, of the last evaluation.
    """

    def __init__(self, metric: ImageMetric) -> None:
        super().__init__(Mean(), reset_at="experience", emit_at="experience", mode="eval")
        self.metric = metric
        self.images: dict[str, list[float]] = {}

    def before_eval_exp(self, strategy: Any) -> None:
        super().before_eval_exp(strategy)
        (domain,) = strategy.experience.domains
        self.images[domain] = []

    def __str__(self) -> str:
        return self.metric.name

    def update(self, strategy: Any) -> None:
        _, image = unpack(strategy.mb_x)
        values = self.metric.of(strategy.mb_output, image)
        self._metric.update(fmean(values), len(values))
        (domain,) = strategy.experience.domains
        self.images[domain] += values

    def _package_result(self, strategy: Any) -> list[MetricValue]:
        (domain,) = strategy.experience.domains
        name = f"{self.metric.name}/test/{domain}"
        return [MetricValue(self, name, self._metric.result(), strategy.clock.train_iterations)]
