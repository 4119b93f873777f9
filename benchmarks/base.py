"""What a stream is, how it becomes an Avalanche benchmark, and how one is found by name.

A stream is a file with one `Stream` in it. To add yours, write such a file and name it:

    from cl_sr.benchmarks import CELEBA, Domain, Stream

    stream = Stream("celeba-cats", "human faces, then cats", (CELEBA, Domain("cats", "cats")))

    $ cl-sr run --stream ./celeba_cats.py --data celeba=/data/celeba --data cats=/data/cats
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_sr.data.domains import Domain
from cl_sr.errors import InputError
from cl_sr.plugins import Installed, find, installed, shipped

if TYPE_CHECKING:
    from cl_sr.data.prepare import DomainData
    from cl_sr.degradations import Degradation

GROUP = "cl_sr.benchmarks"  # of the entry points of packages


@dataclass(frozen=True)
class Stream:
    """Image domains in the order in which a model meets them.

    Attributes:
        name: what `--stream` takes.
        summary: a few words for `cl-sr list`.
        domains: one experience each; their names differ.
    """

    name: str
    summary: str
    domains: tuple[Domain, ...]

    def __post_init__(self) -> None:
        names = self.domain_names
        if not names or len(set(names)) < len(names):
            raise InputError(f"stream {self.name!r} needs domains with different names")

    @property
    def domain_names(self) -> tuple[str, ...]:
        return tuple(domain.name for domain in self.domains)

    def benchmark(
        self,
        data: Mapping[str, DomainData],
        degradation: Degradation,
        *,
        flip: bool = True,
        test_images: int = 1_000_000,
        curriculum: Sequence[tuple[str, ...]] | None = None,
    ) -> Any:
        """The stream as an Avalanche benchmark, with `train_stream` and `test_stream`.

        Args:
            data: the images of each domain, by name (`cl_sr.data.prepare.load_domain`).
            degradation: makes the low-resolution images (`cl_sr.degradations.Bicubic(4)`).
            flip: mirror training images at random.
            test_images: of each domain, at most.
            curriculum: the domains of each training experience; by default one domain each.

        Returns:
            An Avalanche `CLScenario`. Samples are `(packed, domain)`, see `cl_sr.data.samples`;
            experiences have `domains` (their names). There is one test experience a domain.
        """
        from cl_sr.avalanche import (
            ConstantSequence,
            DataAttribute,
            benchmark_from_datasets,
            make_avalanche_dataset,
        )
        from cl_sr.data.samples import TestSamples, TrainingSamples

        def avalanche_dataset(samples: Any) -> Any:
            number = ConstantSequence(samples.domain, len(samples))
            attribute = DataAttribute(number, "domain")
            return make_avalanche_dataset(samples, data_attributes=[attribute])

        if curriculum is None:
            curriculum = [(name,) for name in self.domain_names]
        numbers = {name: number for number, name in enumerate(self.domain_names)}
        train = {
            name: avalanche_dataset(TrainingSamples(data[name], number, degradation, flip))
            for name, number in numbers.items()
        }
        test = [
            avalanche_dataset(TestSamples(data[name].test[:test_images], number, degradation))
            for name, number in numbers.items()
        ]
        joined = []
        for names in curriculum:
            first, *others = (train[name] for name in names)
            for other in others:
                first = first.concat(other)
            joined.append(first)
        benchmark = benchmark_from_datasets(train=joined, test=test)
        for experience, names in zip(benchmark.train_stream, curriculum, strict=True):
            experience.domains = names
        for experience, name in zip(benchmark.test_stream, self.domain_names, strict=True):
            experience.domains = (name,)
        return benchmark


def shipped_streams() -> dict[str, Stream]:
    """The streams of this folder, by name."""
    modules = shipped("cl_sr.benchmarks", Path(__file__).parent, without=("base",))
    return {module.stream.name: module.stream for module in modules}


def installed_streams() -> dict[str, Installed]:
    """Those that installed packages bring by the entry-point group `cl_sr.benchmarks`."""
    return installed(GROUP)


def find_stream(name: str) -> Stream:
    """A shipped stream by its name, one of an installed package, or the one in a file `path.py`.

    Raises:
        InputError: no such stream; or the file has none.
    """
    public = "cl_sr.benchmarks.Stream"
    return find(name, "stream", Stream, public, shipped_streams, GROUP, "./my_stream.py")
