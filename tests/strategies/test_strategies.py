import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from cl_sr.errors import InputError
from cl_sr.strategies import Strategy, find_strategy, shipped_strategies
from cl_sr.strategies.base import option
from cl_sr.strategies.timestep_window import TimestepWindow


def test_the_shipped_ones() -> None:
    assert set(shipped_strategies()) >= {"finetune", "timestep-window", "from-scratch", "joint"}


@pytest.mark.parametrize("name", sorted(shipped_strategies()))
def test_each_has_a_line_of_help_and_options_with_help(name: str) -> None:
    cls = shipped_strategies()[name]
    assert cls.__doc__
    assert len(cls.__doc__.split("\n")[0]) <= 90
    assert all(field.metadata["help"] for field in fields(cls))


def test_listing_them_imports_neither_torch_nor_avalanche() -> None:
    code = (
        "import sys; from cl_sr.strategies import shipped_strategies as s; s(); "
        "from cl_sr.benchmarks import shipped_streams as b; b(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'avalanche', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_options_are_parsed_and_typed() -> None:
    strategy = find_strategy("timestep-window:start=100,stop=500")
    assert strategy == TimestepWindow(start=100, stop=500)
    assert find_strategy("timestep-window") == TimestepWindow(0, 200)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finetun", "did you mean 'finetune'"),
        ("timestep-window:stp=3", "did you mean 'stop'"),
        ("timestep-window:stop", "not option=value"),
        ("timestep-window:stop=many", "stop='many': input should be a valid integer"),
        ("timestep-window:stop=1.5", "stop='1.5': input should be a valid integer"),
        ("finetune:size=3", "has no options"),
        ("", "lacks a name"),
        ("replay+nope", "unknown strategy .nope"),
        ("replay+", "lacks a name"),
        ("finetune+ewc", "these are 2 strategies, and one is wanted"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_strategy(text)


def test_the_window_is_that_of_the_paper() -> None:
    window = TimestepWindow(start=0, stop=200)
    assert window.window(experience=0, steps=2000) == (0, 2000)
    assert window.window(experience=1, steps=2000) == (0, 200)


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (300, 200), (-1, 5), (0, 2001)])
def test_an_empty_or_outer_window_is_refused(start: int, stop: int) -> None:
    with pytest.raises(InputError, match=r"0\.\.2000"):
        TimestepWindow(start, stop).check(steps=2000)


def test_joint_has_one_experience_and_the_others_one_a_domain() -> None:
    iterations = {"celeba": 5, "animef": 3, "df2k-ost": 0}
    assert find_strategy("joint").curriculum(iterations) == [(tuple(iterations), 8)]
    for name in ("finetune", "from-scratch", "timestep-window"):
        found = find_strategy(name).curriculum(iterations)
        assert found == [(("celeba",), 5), (("animef",), 3), (("df2k-ost",), 0)]


def test_a_prior_is_trained_on_the_first_domain_or_not_at_all(tmp_path: Path) -> None:
    iterations = {"celeba": 5, "animef": 3}
    assert find_strategy("ddnm").curriculum(iterations) == [(("celeba",), 5)]
    assert find_strategy("ddnm:iterations=7").curriculum(iterations) == [(("celeba",), 7)]
    assert find_strategy(f"ddnm:prior={tmp_path}").curriculum(iterations) == []


def test_a_strategy_of_ones_own_needs_only_what_it_changes() -> None:
    @dataclass(frozen=True)
    class HighNoiseFirst(Strategy):
        """Learns high noise alone."""

        start: int = option(1000, "where to begin")

        def window(self, experience: int, steps: int) -> tuple[int, int]:
            return self.start, steps

    assert HighNoiseFirst.title() == "high-noise-first"
    assert HighNoiseFirst().window(0, 2000) == (1000, 2000)
    assert HighNoiseFirst().curriculum({"a": 4}) == [(("a",), 4)]


def test_only_what_fine_tunes_the_first_domain_starts_plainly() -> None:
    """A sweep trains it once for all that say so."""
    plain = {name for name, cls in shipped_strategies().items() if cls().traits.plain_start}
    assert set(shipped_strategies()) - plain == {"avalanche", "ddnm", "from-scratch", "joint", "si"}
