"""A choice of strategies: as text of a command line, as a list of config.yaml, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cl_sr.config import RunConfig, pick, resolve
from cl_sr.errors import InputError
from cl_sr.strategies import (
    Choice,
    Strategy,
    compose,
    find_strategy,
    option,
    read_choices,
    spell,
    typed,
)
from cl_sr.strategies.base import other_options
from cl_sr.strategies.choice import from_plain, parse
from cl_sr.strategies.replay import Replay
from cl_sr.yaml_text import dump_yaml, parse_yaml


def taken(value: Any) -> tuple[Choice, ...]:
    """The choices as a run keeps them: with options as the strategies took them."""
    return tuple(typed(choice, find_strategy(choice)) for choice in read_choices(value))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("replay+ewc", ["replay", "ewc"]),
        ("replay:size=3 + ewc:weight=1e+5", ["replay:size=3", "ewc:weight=1e+5"]),
        ("ewc:weight=1e+5", ["ewc:weight=1e+5"]),
        ("ddnm:prior=/data/a+b/c.pt+replay", ["ddnm:prior=/data/a+b/c.pt", "replay"]),
        ("ddnm:prior=/data/my+replay/x.pt", ["ddnm:prior=/data/my+replay/x.pt"]),
        ("ddnm:prior=/data/x+ewc-old.pt", ["ddnm:prior=/data/x+ewc-old.pt"]),
        ("freeze:parts=mid.+|downs+replay", ["freeze:parts=mid.+|downs", "replay"]),
        ("./mine.py:Mine:a=1+replay", ["{here}/mine.py:Mine:a=1", "replay"]),
        ("replay+./mine.py:a=1e+2+l2-sp", ["replay", "{here}/mine.py:a=1e+2", "l2-sp"]),
        ("avalanche:EWCPlugin:ewc_lambda=1e+3+si", ["avalanche:EWCPlugin:ewc_lambda=1e+3", "si"]),
    ],
)
def test_a_plus_parts_strategies_and_no_values(tmp_path: Path, text: str, parts: list[str]) -> None:
    found = read_choices(text)
    assert [str(choice) for choice in found] == [part.format(here=tmp_path) for part in parts]
    assert read_choices(spell(found)) == found


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("replay", "replay", {}),
        ("replay:", "replay", {}),
        ("replay:size=3,ratio=.25", "replay", {"size": "3", "ratio": ".25"}),
        ("ddnm:prior=/a,b.pt,steps=7", "ddnm", {"prior": "/a,b.pt", "steps": "7"}),
        ("freeze:parts=a=b", "freeze", {"parts": "a=b"}),
        ("freeze:parts=", "freeze", {"parts": ""}),
        ("avalanche:ReplayPlugin", "avalanche", {"plugin": "ReplayPlugin"}),
        (
            "avalanche:LRSchedulerPlugin:milestones=[1,3],gamma=0.5",
            "avalanche",
            {"plugin": "LRSchedulerPlugin", "milestones": "[1,3]", "gamma": "0.5"},
        ),
        ("/a/mine.py", "/a/mine.py", {}),
        ("/a/mine.py:Mine", "/a/mine.py:Mine", {}),
        ("/a/mine.py:Mine:a=1", "/a/mine.py:Mine", {"a": "1"}),
        ("/a/mine.py:a=1,b=2", "/a/mine.py", {"a": "1", "b": "2"}),
        ("/a:b/c:d/mine.py:Mine:a=1", "/a:b/c:d/mine.py:Mine", {"a": "1"}),
        ("/a.pyx/b.py.old/mine.py:a=1", "/a.pyx/b.py.old/mine.py", {"a": "1"}),
        ("replay:size=./x.py", "replay", {"size": "./x.py"}),
    ],
)
def test_a_text_is_a_name_with_options_that_are_text(
    text: str, name: str, options: dict[str, str]
) -> None:
    assert read_choices(text) == (Choice(name, options),)


@pytest.mark.parametrize("folder", ["a:b", "C:", "a+b", "a,b=c", "x.pyz"])
@pytest.mark.parametrize("suffix", ["", ":Mine", ":Mine:count=3", ":count=3"])
def test_a_file_anywhere_survives_config_yaml(tmp_path: Path, folder: str, suffix: str) -> None:
    place = tmp_path / folder / "mine.py"
    place.parent.mkdir()
    place.write_text(
        "from dataclasses import dataclass\nfrom cl_sr.strategies import Strategy, option\n"
        '@dataclass(frozen=True)\nclass Mine(Strategy):\n    """Mine."""\n'
        '    count: int = option(1, "of it")\n'
    )
    name, options = f"{place}{':Mine' if 'Mine' in suffix else ''}", {}
    if "count" in suffix:
        options = {"count": 3}
    if set(folder) & set("+,="):  # on a command line these part strategies and options
        written: Any = [{name: options}]
    else:
        written = f"{place}{suffix}"
    config = resolved(written)
    again = resolve(parse_yaml(config.to_yaml()))
    (strategy,) = compose(*again.strategy).parts
    assert type(strategy).__name__ == "Mine"
    assert strategy.count == options.get("count", 1)  # type: ignore[attr-defined]
    assert resolve(parse_yaml(again.to_yaml())) == again


def test_only_known_names_part_a_text() -> None:
    assert parse("mine:a=1+theirs", ["mine"]) == (Choice("mine", {"a": "1+theirs"}),)
    assert parse("mine:a=1+theirs", ["mine", "theirs"]) == (
        Choice("mine", {"a": "1"}),
        Choice("theirs"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replay:size", "strategy replay: 'size' is not option=value"),
        ("replay:size=3,size=4", "strategy replay: size is given twice"),
        ("./mine.py:Mine:a", r"mine\.py:Mine: 'a' is not option=value"),
        ("avalanche:ReplayPlugin:mem_size", "strategy avalanche: 'mem_size' is not option=value"),
    ],
)
def test_what_is_no_option_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_choices(text)


def test_values_may_hold_commas(tmp_path: Path) -> None:
    strategy: Any = find_strategy(f"ddnm:prior={tmp_path}/a,b.pt,steps=7")
    assert (strategy.prior, strategy.steps) == (f"{tmp_path}/a,b.pt", 7)
    spelt = spell(taken("ddnm:prior=x,steps=7"))
    assert spelt == f"ddnm:prior={tmp_path}/x,steps=7"
    assert find_strategy(spelt) == find_strategy("ddnm:prior=x,steps=7")


def test_values_with_a_plus_arrive() -> None:
    text = "ddnm:prior=/data/a+b/c.pt,steps=7+avalanche:LRSchedulerPlugin:step_size=12"
    found: Any = compose(text)
    assert [part.title() for part in found.parts] == ["ddnm", "avalanche"]
    assert (found.parts[0].prior, found.parts[0].steps) == ("/data/a+b/c.pt", 7)
    assert found.parts[1].arguments == {"step_size": "12"}
    assert find_strategy("ewc:weight=1e+5").weight == 1e5  # type: ignore[attr-defined]


@pytest.mark.parametrize("given", ["mix=true", "mix=True", "mix=1", "mix=yes"])
def test_yes_and_no_are_spelt_as_in_yaml(given: str) -> None:
    assert spell(taken(f"replay:{given}")) == "replay:mix=true"


def test_the_spelling_of_a_composition_finds_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "ddnm:prior=a+b.pt,steps=7 + avalanche:LRSchedulerPlugin:step_size=12,gamma=0.5"
    found, spelt = compose(text), spell(taken(text))
    scheduler = "avalanche:LRSchedulerPlugin:step_size=12,gamma=0.5"
    assert spelt == f"ddnm:prior={tmp_path}/a+b.pt,steps=7+{scheduler}"
    monkeypatch.chdir("/")
    assert compose(spelt) == found


# Lists


@pytest.mark.parametrize(
    "value",
    [
        "replay:size=16,mix=true+wise-ft",
        ["replay:size=16,mix=true", "wise-ft"],
        ["replay:size=16,mix=true+wise-ft"],
        [{"replay": {"size": 16, "mix": True}}, "wise-ft"],
        [{"replay": {"size": "16", "mix": "yes"}}, {"wise-ft": None}],
        ({"replay": {"mix": 1, "size": 16}}, {"wise-ft": {}}),
        [Choice("replay", {"size": "16", "mix": "True"}), Choice("wise-ft")],
    ],
)
def test_a_list_says_the_same_as_text(value: Any) -> None:
    assert compose(*read_choices(value)) == compose(Replay(size=16, mix=True), "wise-ft")
    (replay, wise_ft) = taken(value)
    assert (replay.name, dict(replay.options)) == ("replay", {"size": 16, "mix": True})
    assert wise_ft == Choice("wise-ft")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "None is no strategy; write finetune, or a list such as"),
        (3, "3 is no strategy"),
        ([], "there is none in the list; finetune is the plain one"),
        ([["replay"]], "is no strategy; write finetune, or a list such as"),
        ([{"replay": {}, "ewc": {}}], "is no strategy; write finetune, or a list such as"),
        ([{}], "is no strategy"),
        ([{"replay": 16}], "strategy replay: options are keys and values"),
        ([{"replay": ["size"]}], "strategy replay: options are keys and values"),
        ([{3: {}}], "strategy 3: a name is text"),
        ([{"replay": {3: 4}}], "strategy replay: the names of options are text"),
    ],
)
def test_what_is_no_list_of_strategies_is_refused(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        from_plain(value, ["replay", "ewc"])
    assert "\n" not in str(error.value)


TEXTS = [
    "finetune",
    "replay:size=16,ratio=0.25,policy=each,mix=true+wise-ft:alpha=0.5",
    "ewc:weight=100000.0,samples=3",
    "ddnm:prior=/data/a+b,c.pt,steps=7,eta=0.0+avalanche:LRSchedulerPlugin:step_size=12,gamma=0.5",
    "avalanche:EWCPlugin:ewc_lambda=1+avalanche:MASPlugin:verbose=false",
    "lora:where=^ups.*(res_conv|out)$,rank=2",
    "freeze:parts=null",
    "freeze:parts=1e3",
    "freeze:parts=yes",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_to_a_list_and_back(text: str) -> None:
    choices = taken(text)
    plain = [choice.plain() for choice in choices]
    assert spell(choices) == text
    assert taken(plain) == choices
    assert spell(taken(plain)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_config_yaml_repeats_the_strategies(text: str) -> None:
    values = [choice.plain() for choice in taken(text)]
    assert parse_yaml(dump_yaml(values)) == values
    config = resolve({"strategy": taken(text)})
    again = resolve(parse_yaml(config.to_yaml()))
    assert again == config
    assert spell(again.strategy) == text
    assert compose(*again.strategy) == compose(text)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("batch_size", None), ("milestones", [1, 3]), ("verbose", True), ("gamma", 1e-7)],
)
def test_arguments_of_every_kind_can_be_spelt(argument: str, value: Any) -> None:
    """As on a command line, where they are YAML."""
    (choice,) = taken([{"avalanche": {"plugin": "ReplayPlugin", argument: value}}])
    (again,) = read_choices(str(choice))
    assert parse_yaml(again.options[argument]) == value


def test_a_plain_choice_is_a_name_or_a_name_with_options() -> None:
    assert Choice("wise-ft").plain() == "wise-ft"
    assert Choice("replay", {"size": 16}).plain() == {"replay": {"size": 16}}
    lines = resolve({"strategy": [{"replay": {"size": 16}}, "wise-ft"]}).to_yaml().splitlines()
    assert lines[lines.index("strategy:") :][:4] == [
        "strategy:",
        "- replay:",
        "    size: 16",
        "- wise-ft",
    ]


def test_the_path_of_a_file_is_from_the_root(tmp_path: Path) -> None:
    for value in ("./mine.py:Mine:a=1", [{"mine.py:Mine": {"a": "1"}}], ["./mine.py:Mine:a=1"]):
        assert read_choices(value) == (Choice(f"{tmp_path}/mine.py:Mine", {"a": "1"}),)


# What a strategy takes


def test_options_that_are_not_given_are_not_written() -> None:
    """A default that changes in another version is then that of the version that runs."""
    (choice,) = taken("replay:size=4")
    assert dict(choice.options) == {"size": 4}


def test_other_options_keep_what_they_are() -> None:
    @dataclass(frozen=True)
    class Anything(Strategy):
        """Takes whatever it is given."""

        own: int = option(3, "its own")
        rest: dict[str, Any] = other_options("whatever")

    given = {"own": "4", "end": 3, "title": "x", "many": [1, 2]}
    strategy = Anything(4, {"end": 3, "title": "x", "many": [1, 2]})
    found = typed(Choice("anything", given), strategy)
    assert dict(found.options) == {"own": 4, "end": 3, "title": "x", "many": [1, 2]}


# Overrides of one option: strategy.NAME.OPTION=VALUE


def resolved(strategy: Any, *overrides: str) -> RunConfig:
    return resolve({"strategy": strategy}, overrides)


@pytest.mark.parametrize(
    ("strategy", "overrides", "expected"),
    [
        ("replay:size=16+wise-ft", ["strategy.replay.size=4"], "replay:size=4+wise-ft"),
        (["replay", "wise-ft"], ["strategy.replay.size=4"], "replay:size=4+wise-ft"),
        ([{"replay": {"size": 16}}], ["strategy.replay.ratio=.25"], "replay:size=16,ratio=0.25"),
        (
            "finetune",
            ["strategy=replay:size=3+wise-ft", "strategy.wise-ft.alpha=0.5"],
            "replay:size=3+wise-ft:alpha=0.5",
        ),
        (
            "finetune",
            ["strategy=[{replay: {size: 3}}, wise-ft]", "strategy.replay.mix=true"],
            "replay:size=3,mix=true+wise-ft",
        ),
        ("replay", ["strategy.replay.size=4", "strategy.replay.size=5"], "replay:size=5"),
        # Of the strategies that are set, whichever comes first.
        ("finetune", ["strategy.replay.size=4", "strategy=replay"], "replay:size=4"),
        (
            "avalanche:ReplayPlugin:mem_size=7",
            ["strategy.avalanche.mem_size=8", "strategy.avalanche.batch_size_mem=2"],
            "avalanche:ReplayPlugin:mem_size=8,batch_size_mem=2",
        ),
    ],
)
def test_one_option_is_set_and_all_else_stays(
    strategy: Any, overrides: Sequence[str], expected: str
) -> None:
    found = resolved(strategy, *overrides).strategy
    assert spell(found) == expected
    assert spell(taken(found)) == expected


@pytest.mark.parametrize(
    "name", ["./mine.py", "./mine.py:Mine", "mine.py:Mine:count=1", [{"mine.py:Mine": {}}]]
)
def test_an_option_of_ones_own_file_is_set_by_the_files_name(tmp_path: Path, name: Any) -> None:
    (choice,) = resolved(name, "strategy.mine.count=3").strategy
    assert choice.name.startswith(f"{tmp_path}/mine.py")
    assert dict(choice.options) == {"count": 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("strategy.ewc.weight=2", r"ewc is not among the strategies \(replay:size=16\+wise-ft\)"),
        ("strategy.ewc.weight=2", "add --strategy ewc"),
        ("strategy.replay.sise=4", "strategy replay has no option 'sise': did you mean 'size'"),
        ("strategy.replay.size", "is not key=value"),
        ("strategy.ewcc.weight=2", r"ewcc is not among .*: did you mean 'ewc'\?"),
        ("strategy.replay=4", "unknown key 'strategy.replay': .* are strategy.NAME.OPTION"),
        ("strategy.replay.size.more=4", "unknown key 'strategy.replay.size.more'"),
        ("strategy=[]", "there is none in the list"),
        ("strategy={replay: 3}", "strategy replay: options are keys and values"),
    ],
)
def test_an_override_that_cannot_be_is_told(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        resolved("replay:size=16+wise-ft", override)
    assert "\n" not in str(error.value)


def test_options_of_strategies_that_are_replaced_are_refused() -> None:
    with pytest.raises(InputError, match=r"replay is not among the strategies \(wise-ft\)"):
        resolved("replay", "strategy.replay.size=4", "strategy=wise-ft")


def test_what_an_option_is_set_to_can_be_asked_for() -> None:
    values = {"strategy": [{"replay": {"size": 16}}, "wise-ft"]}
    assert pick(values, "strategy.replay.size") == 16
    assert pick(values, "strategy.replay.ratio") == 0.5  # not given: the default
    assert pick(values, "strategy.ewc.weight") is None
