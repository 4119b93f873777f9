"""Image metrics as Avalanche metrics: one value a domain at each evaluation."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from cl_sr.avalanche import GenericPluginMetric, Mean, MetricValue
from cl_sr.degradations.pixels import to_floats
from cl_sr.evaluation.metrics import ImageMetric


class DomainQuality(GenericPluginMetric):
    """The mean of an image metric over a domain's test images, emitted after each domain.

    Reads `mb_output` (super-resolved, [-1, 1]; several draws of the images one after the other) and
    `samples` of the template. Each value's name is `METRIC/test/DOMAIN`; the value is a Python
    float, which TensorBoard draws as a curve.

    Attributes:
        images: the values of single images, by domain, of the last evaluation: means of the draws.
        draws: the values of each image's draws.
    """

    def __init__(self, metric: ImageMetric) -> None:
        super().__init__(Mean(), reset_at="experience", emit_at="experience", mode="eval")
        self.metric = metric
        self.images: dict[str, list[float]] = {}
        self.draws: dict[str, list[tuple[float, ...]]] = {}

    def before_eval_exp(self, template: Any) -> None:
        super().before_eval_exp(template)
        (domain,) = template.experience.domains
        self.images[domain], self.draws[domain] = [], []

    def __str__(self) -> str:
        return self.metric.name

    def update(self, template: Any) -> None:
        truth = to_floats(template.samples.hr)
        by_draw = [self.metric.of(images, truth) for images in template.mb_output.split(len(truth))]
        by_image = list(zip(*by_draw, strict=True))
        values = [fmean(draws) for draws in by_image]
        self._metric.update(fmean(values), len(values))
        (domain,) = template.experience.domains
        self.draws[domain] += by_image
        self.images[domain] += values

    def _package_result(self, template: Any) -> list[MetricValue]:
        (domain,) = template.experience.domains
        name = f"{self.metric.name}/test/{domain}"
        return [MetricValue(self, name, self._metric.result(), template.clock.train_iterations)]
