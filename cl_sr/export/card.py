"""The model card: README.md with what the hub reads (YAML) and what people read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import cl_sr
from cl_sr.errors import InputError
from cl_sr.evaluation.matrix import ForgettingMatrix
from cl_sr.evaluation.statistics import Estimate, Measured, mean
from cl_sr.export.source import Source
from cl_sr.image_size import sides
from cl_sr.models.family import find_family
from cl_sr.reporting import Report, build_report
from cl_sr.reporting.tables import digits, domain_labels, metric_name
from cl_sr.runs.record import Record

TEMPLATE = Path(__file__).with_name("card.md")
TAGS = ("super-resolution", "image-super-resolution", "diffusion", "continual-learning")
PIPELINE = "image-to-image"


def write_card(
    folder: Path, source: Source, *, name: str, place: str, license: str | None, **more: Any
) -> None:
    """Write README.md.

    Args:
        folder: where.
        source: what was exported.
        name: of the model.
        place: where others find it: a folder, or `hf:owner/name`.
        license: the hub's identifier of it (`apache-2.0`); None: none was given.
        more: for the template: `use` (how to use it, Markdown), `contents` (by file, what it is),
            `limits` (further ones).
    """
    from huggingface_hub import ModelCard, ModelCardData

    report = _report(source.record)
    data = source.record.environment["data"] if report else {}
    labels = domain_labels(data)
    about = source.about
    family = find_family(about.family)
    card = ModelCard.from_template(
        ModelCardData(
            license=license,
            library_name="cl-sr",
            pipeline_tag=PIPELINE,
            # Domains are tags: they are folders of somebody, and no data sets of the hub.
            tags=[*TAGS, family.name, *(f"domain:{domain}" for domain in about.domains)],
            model_name=name,
            eval_results=_results(source, report) or None,
        ),
        template_path=str(TEMPLATE),
        name=name,
        place=place,
        license=license,
        about=about,
        family=family.title,
        size="x".join(map(str, sides(about.image_size))) if about.image_size else "",
        strategy=source.composition.name,
        state=source.name,
        domains=[
            {"label": labels[domain], "learnt": domain in about.domains, **data[domain]}
            for domain in labels
        ],
        standins=[d for d, told in data.items() if told["source"] == "stand-in"],
        report=report,
        later=_later(source) if report else [],
        seed=source.record.settings["seed"],
        version=cl_sr.__version__,
        **more,
    )
    card.save(folder / "README.md")


def _report(record: Record) -> Report | None:
    """What the run has measured; None where its files are gone: weights travel all the same."""
    try:
        return build_report(record)
    except InputError:
        return None


def _later(source: Source) -> list[str]:
    """What the run learnt after this state."""
    rows = source.record.matrices[0].learnt if source.record.matrices else []
    return rows[rows.index(source.name) + 1 :] if source.name in rows else []


def _results(source: Source, report: Report | None) -> list[Any]:
    """This state's quality on every domain, with the half of its interval, as the hub takes it."""
    from huggingface_hub import EvalResult

    if report is None:
        return []
    images, found = source.record.images, []
    for matrix in source.record.matrices:
        for domain, value in matrix.rows.get(source.name, {}).items():
            figure = _figure(matrix, images, source.name, domain, value)
            if math.isnan(figure.value):
                continue
            places = digits(matrix.metric)
            interval = [round(figure.low, places), round(figure.high, places)]
            told = {} if math.isnan(figure.low) else {"confidence_interval_95": interval}
            found.append(
                EvalResult(
                    task_type=PIPELINE,
                    task_name=f"super-resolution, {source.about.scale} times as large",
                    dataset_type=domain,
                    dataset_name=report.labels[domain],
                    dataset_split=source.record.settings["eval"]["split"],
                    metric_type=matrix.metric,
                    metric_name=metric_name(matrix.metric),
                    metric_value=round(figure.value, places),
                    metric_args=told or None,
                )
            )
    return found


def _figure(
    matrix: ForgettingMatrix, images: Measured, row: str, domain: str, value: float
) -> Estimate:
    each = images.get((row, domain), {}).get(matrix.metric)
    return mean({domain: np.asarray(each)}) if each else Estimate(value)
