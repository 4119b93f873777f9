"""The test images of a run that was made before: those that are asked for, and no others."""

from __future__ import annotations

from cl_sr.config import resolve
from cl_sr.data.prepare import read_again
from cl_sr.data.samples import Samples, TestSamples
from cl_sr.degradations import Degradation
from cl_sr.errors import InputError
from cl_sr.runs.plan import check
from cl_sr.runs.record import Record, files_tested


def test_samples(record: Record, name: str, count: int, degradation: Degradation) -> Samples:
    """The first test images of a domain, in the order of the run.

    Args:
        record: the run.
        name: of the domain.
        count: at most.
        degradation: that the run had.

    Raises:
        InputError: an image is gone, or is another now.
    """
    plan = check(resolve(record.config))
    number = plan.stream.domain_names.index(name)
    files = files_tested(record).get(name, [])[:count]
    if not files:
        raise InputError(f"{record.path / 'manifest.csv'} lists no test images of {name}")
    domain, folder, data = plan.stream.domains[number], plan.folders.get(name), plan.config.data
    images = read_again(domain, folder, files, data.size, data.channels)
    return TestSamples(images, number, degradation).samples(0, len(images))
