from pathlib import Path

import pytest
import torch

from cl_sr.benchmarks import CELEBA, Domain, Stream, find_stream, shipped_streams
from cl_sr.data.prepare import DomainData, load_domain
from cl_sr.data.samples import Samples
from cl_sr.degradations import AveragePool, Bicubic, Degradation
from cl_sr.errors import InputError


@pytest.fixture(scope="module")
def data() -> dict[str, DomainData]:
    return {
        domain.name: load_domain(domain, None, size=16, scale=4, standin_images=20, split_seed=0)
        for domain in find_stream("celeba-anime-df2k").domains
    }


def test_the_shipped_ones() -> None:
    assert {name: s.domain_names for name, s in shipped_streams().items()} == {
        "celeba-anime": ("celeba", "animef"),
        "celeba-df2k": ("celeba", "df2k-ost"),
        "celeba-anime-df2k": ("celeba", "animef", "df2k-ost"),
        "imagenet": ("imagenet",),
    }


def test_an_avalanche_benchmark_of_one_domain_an_experience(data: dict[str, DomainData]) -> None:
    benchmark = find_stream("celeba-anime-df2k").benchmark(data, Bicubic(4), test_images=5)
    assert [e.domains for e in benchmark.train_stream] == [("celeba",), ("animef",), ("df2k-ost",)]
    assert [e.domains for e in benchmark.test_stream] == [("celeba",), ("animef",), ("df2k-ost",)]
    for number, experience in enumerate(benchmark.train_stream):
        assert experience.current_experience == number
        assert len(experience.dataset) == 14
        packed, domain = experience.dataset[0]
        assert packed.shape == (4, 16, 16)  # 3 x 16 x 16, and 3 x 4 x 4 in a channel of their own
        assert packed.dtype == torch.uint8
        assert domain == number
        assert experience.dataset.domain.uniques == {number}
    assert [len(e.dataset) for e in benchmark.test_stream] == [5, 5, 5]


@pytest.mark.parametrize("degradation", [Bicubic(4), AveragePool(4)])
def test_samples_are_images_beside_what_the_degradation_makes_of_them(
    data: dict[str, DomainData], degradation: Degradation
) -> None:
    benchmark = find_stream("celeba-anime-df2k").benchmark(data, degradation, flip=False)
    for experience in [*benchmark.train_stream, *benchmark.test_stream]:
        packed = torch.stack([experience.dataset[k][0] for k in range(3)])
        samples = Samples.unpack(packed, 4)
        assert samples.hr.shape == (3, 3, 16, 16)
        assert torch.equal(samples.lr, degradation.degrade(samples.hr))
    for experience, domain in zip(benchmark.test_stream, data.values(), strict=True):
        hr = Samples.unpack(experience.dataset[1][0][None], 4).hr
        assert torch.equal(hr[0], domain.test[1])


def test_joint_experiences_hold_all_domains(data: dict[str, DomainData]) -> None:
    stream = find_stream("celeba-anime")
    curriculum = [("celeba", "animef")]
    (joint,) = stream.benchmark(data, Bicubic(4), curriculum=curriculum).train_stream
    assert joint.domains == ("celeba", "animef")
    assert [joint.dataset[k][1] for k in (0, 13, 14, 27)] == [0, 0, 1, 1]


def test_a_stream_in_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from cl_sr.benchmarks import CELEBA, Domain, Stream\n"
        "stream = Stream('celeba-cats', 'faces, then cats', (CELEBA, Domain('cats', 'cats')))\n"
    )
    stream = find_stream(str(file))
    assert stream.domain_names == ("celeba", "cats")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "no `stream = Stream"),
        ("import nothing_like_this", "ModuleNotFoundError"),
        ("1 +", "SyntaxError"),
    ],
)
def test_files_that_are_no_streams(tmp_path: Path, source: str, message: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(source)
    with pytest.raises(InputError, match=message):
        find_stream(str(file))


def test_unknown_streams_are_told_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'celeba-anime'"):
        find_stream("celeba-anim")
    with pytest.raises(InputError, match="no file"):
        find_stream("./nowhere.py")


def test_a_domain_occurs_once() -> None:
    with pytest.raises(InputError, match="different names"):
        Stream("twice", "", (CELEBA, Domain("celeba", "again")))
