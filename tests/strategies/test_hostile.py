"""Strategies of users that do the wrong thing: told in a line, and no run passes as finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cl_sr.cli.main import main
from cl_sr.strategies import Strategy
from cl_sr.strategies.registry import GONE

HEAD = """
from dataclasses import dataclass
import torch
from cl_sr.data.samples import Samples
from cl_sr.strategies import Does, Experts, Strategy, Traits

@dataclass(frozen=True)
class Mine(Strategy):
    '''Wrong.'''
"""
LINE = len(HEAD.splitlines()) + 1  # of the first hook
NO_SAMPLES = "strategy mine: rehearsal() must return Samples (cl_sr.data.samples) or None"
UNLIKE = "strategy mine: rehearsal() must return 8-bit samples of the size of new ones"
RATE = "strategy mine: learner.lr must be a positive float, not"
HELD = "images.hold_out() takes a whole number of at most 13 images, not"
NO_EXPERTS = "strategy mine: experts() must return an object derived from cl_sr.strategies.Experts"
CASES = [
    ("rehearsal(self, learner, memory, size): return learner.images.draw(1).hr", NO_SAMPLES),
    ("rehearsal(self, learner, memory, size): return learner.images.draw(1)[:0]", NO_SAMPLES),
    ("rehearsal(self, learner, memory, size): return [learner.images.draw(1)]", NO_SAMPLES),
    ("rehearsal(self, learner, memory, size): return learner.images.draw(size)", "no room"),
    ("adapt(self, learner, memory): learner.lr = -learner.lr", f"{RATE} -"),
    ("adapt(self, learner, memory): learner.lr = float('nan')", f"{RATE} nan"),
    ("adapt(self, learner, memory): learner.lr = float('inf')", f"{RATE} inf"),
    ("adapt(self, learner, memory): learner.lr = 0.0", f"{RATE} 0.0"),
    ("adapt(self, learner, memory): learner.lr = 1", f"{RATE} 1"),
    ("adapt(self, learner, memory): learner.lr = '1e-3'", f"{RATE} '1e-3'"),
    ("adapt(self, learner, memory): learner.lr = None", f"{RATE} None"),
    ("adapt(self, learner, memory): learner.images.hold_out(len(learner.images))", f"{HELD} 14"),
    ("adapt(self, learner, memory): learner.images.hold_out(-1)", f"{HELD} -1"),
    ("adapt(self, learner, memory): learner.images.hold_out(1.0)", f"{HELD} 1.0"),
    ("adapt(self, learner, memory): learner.images.hold_out(True)", f"{HELD} True"),
    ("adapt(self, learner, memory): learner.images.hold_out(-1)", "strategy mine"),
    ("begin(self, learner, memory): memory['a/b'] = 1", "without '/'"),
    ("begin(self, learner, memory): memory['a'] = object()", "tensor or a JSON value"),
    ("end(self, learner, memory): memory['a'] = {1, 2}", "tensor or a JSON value"),
    ("adapt(self, learner, memory): memory['a'] = {'b': object()}", "tensor or a JSON value"),
    ("settle(self, learner, memory): memory[3] = 1", "without '/'"),
    ("begn(self, learner, memory): pass", "did you mean the hook 'begin'"),
    ("experts(self, memory): return 3", f"{NO_EXPERTS}, or None, not 3"),
    ("experts(self, memory): return Experts", NO_EXPERTS),
    ("experts(self, memory): return {}", NO_EXPERTS),
    ("penalty(self, learner, memory): raise KeyError('no')", f"mine.py, line {LINE}: KeyError"),
    ("penalty(self, learner, memory): raise KeyError('no')", "strategy mine: /"),
    ("penalty(self, learner, memory): pass", "penalty() must return one number"),
    ("penalty(self, learner, memory): return torch.ones(2)", "penalty() must return one number"),
    ("penalty(self, learner): return 0", "Mine.penalty must take (self, learner, memory)"),
    ("plugins(self, learner): return []", "Mine.plugins must take (self)"),
    ("check(self, steps): pass", "Mine.check must take (self, steps, shapes)"),
    ("target(self, learner, memory, seen): return 3", "target() must return a tensor of shape"),
    ("adapt(self, learner, memory): learner.net.requires_grad_(False)", "no weight is left"),
    ("plugins(self): return [3]", "must return a list of Avalanche"),
    ("settle(self, learner, memory): 1 / 0", "ZeroDivisionError"),
    ("begin(self, learner, memory): learner.inference_state", "strategy mine: /"),
    ("curriculum(self, iterations): return [(d,) for d in iterations]", "curriculum() must return"),
    ("window(self, experience, steps): return 0, 2 * steps", "window() must return (start, stop)"),
    ("export(self, learner, memory, folder): 1 / 0", "strategy mine: /"),
    ("check(self, steps, shapes=None): 1 / 0", "strategy mine: /"),
]
EXPERTS_HEAD = """
from dataclasses import dataclass
import torch
from cl_sr.strategies import Experts, Strategy

class Wrong(Experts):
    def HOOK

@dataclass(frozen=True)
class Mine(Strategy):
    '''Wrong.'''
    def experts(self, memory): return Wrong()
"""
WHERE = f"mine.py, line {EXPERTS_HEAD[: EXPERTS_HEAD.index('HOOK')].count(chr(10)) + 1}"
EXPERTS = [
    ("route(self, lr): return 3", "Wrong.route() must return a whole number for each of 3 images"),
    ("route(self, lr): return [0] * len(lr)", "Wrong.route() must return a whole number"),
    ("route(self, lr): return torch.zeros(len(lr))", "Wrong.route() must return a whole number"),
    ("route(self, lr): return torch.arange(len(lr) + 1)", "Wrong.route() must return a whole"),
    ("route(self, lr): return torch.zeros(len(lr), 1).long()", "Wrong.route() must return a whole"),
    ("route(self, lr): return None", "Wrong.route() must return a whole number"),
    ("route(self, lr): 1 / 0", f"{WHERE}: ZeroDivisionError"),
    ("weights(self, number): return {}", "Missing key(s)"),
    ("weights(self, number): return 3", "TypeError"),
    ("weights(self, number): return [{}][number + 1]", f"{WHERE}: IndexError"),
    ("at(self, chosen, t): return chosen[:1]", "Wrong.at() must return a whole number"),
    ("at(self, chosen, t): return chosen + 0.5", "Wrong.at() must return a whole number"),
    ("at(self, chosen, t): return None", "Wrong.at() must return a whole number"),
]


def told(code: str, tiny: list[str], *strategies: str) -> str:
    """The last line that a run with this file says; it must not pass as finished."""
    Path("mine.py").write_text(code)
    given = [f"--strategy={text}" for text in ("./mine.py", *strategies)]
    result = CliRunner().invoke(main, ["run", *given, "--out", "run", *tiny])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    status = Path("run/status.json")
    assert not status.exists() or json.loads(status.read_text())["state"] == "failed"
    return result.stderr.splitlines()[-1]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.run
@pytest.mark.parametrize(("hook", "message"), CASES)
def test_what_a_hook_does_wrong_is_told(tiny: list[str], hook: str, message: str) -> None:
    assert message in told(f"{HEAD}    def {hook}\n", tiny, "replay:size=4")


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ("traits = None", "mine.py: Mine.traits must be Traits(...)"),
        ("traits = Traits", "mine.py: Mine.traits must be Traits(...)"),
        ("traits = {'plain_start': True}", "mine.py: Mine.traits must be Traits(...)"),
        ("def traits(self): return Traits()", "or a property that returns them"),
        ("traits: Traits = Traits()", "mine.py: Mine.traits is no option"),
        ("traits = property(lambda self: 3)", "strategy mine: traits must be Traits, not 3"),
        ("traits = property(lambda self: 1 / 0)", f"mine.py, line {LINE}: ZeroDivisionError"),
        ("traits = Traits(does=Does.HOLDS_WEIGHTS)", "strategy mine: traits"),
        ("traits = Traits(does=[Does.HOLDS_WEIGHTS])", "strategy mine: traits"),
        ("traits = Traits(does={'holds weights'})", "strategy mine: traits"),
    ],
)
def test_traits_that_are_none_are_told(tiny: list[str], traits: str, message: str) -> None:
    assert message in told(f"{HEAD}    {traits}\n", tiny)


@pytest.mark.run
@pytest.mark.parametrize(
    "samples",
    [
        "Samples(new.lr, new.hr.float())",
        "Samples(new.lr[..., :2, :2], new.hr[..., :8, :8])",
        "Samples(new.lr, new.hr[:, :2])",
        "Samples(new.hr, new.hr)",
        "Samples(new.hr[..., :8, :8], new.hr)",  # which would pack into as many channels
        "Samples(new.lr[:, :1], new.hr)",
    ],
)
def test_samples_of_another_size_are_told(tiny: list[str], samples: str) -> None:
    hook = "    def rehearsal(self, learner, memory, size):\n        new = learner.images.draw(1)\n"
    assert UNLIKE in told(f"{HEAD}{hook}        return {samples}\n", tiny)


@pytest.mark.run
@pytest.mark.parametrize("samples", ["Samples(new.lr[:1], new.hr)", "Samples(new.lr, new.hr[:1])"])
def test_samples_of_which_one_half_is_missing_are_told_by_the_strategys_name(
    tiny: list[str], samples: str
) -> None:
    hook = "    def rehearsal(self, learner, memory, size):\n        new = learner.images.draw(2)\n"
    line = told(f"{HEAD}{hook}        return {samples}\n", tiny)
    assert "strategy mine: rehearsal() must return" in line


@pytest.mark.run
@pytest.mark.parametrize(("hook", "message"), EXPERTS)
def test_what_experts_do_wrong_is_told(tiny: list[str], hook: str, message: str) -> None:
    """Of three test images; by default all are restored by the net as it is."""
    assert message in told(EXPERTS_HEAD.replace("HOOK", hook), tiny)


@pytest.mark.parametrize("name", sorted(GONE))
@pytest.mark.parametrize(
    "declared", ["def {name}(self, *arguments): pass", "{name} = True", "{name}: object = None"]
)
def test_a_hook_of_old_is_refused_with_what_to_use(
    tiny: list[str], name: str, declared: str
) -> None:
    declared = declared.format(name=name)
    if ": object" in declared:
        declared = declared.replace("object", "ClassVar[object]")
    code = f"from typing import ClassVar\n{HEAD}    {declared}\n"
    line = told(code, tiny)
    assert f"mine.py: Mine.{name} is no hook any more: use {GONE[name]}" in line
    assert line.endswith("(docs/strategies.md)")
    assert not Path("run").exists()


def test_the_hooks_of_old_are_those_that_a_strategy_has_no_more() -> None:
    assert not set(GONE) & set(dir(Strategy))


def test_an_option_may_be_called_as_a_hook_of_old(tiny: list[str]) -> None:
    Path("mine.py").write_text(f"{HEAD}    model: str = 'none'\n    budget: int = 3\n")
    arguments = ["run", "--strategy", "./mine.py:budget=4", *tiny, "--dry-run"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


def test_a_hook_of_old_is_refused_in_what_a_strategy_derives_from(tiny: list[str]) -> None:
    code = f"{HEAD}    def denoiser(self, template, memory, lr): pass\n"
    code += "@dataclass(frozen=True)\nclass Yours(Mine):\n    strength: float = 1.0\n"
    Path("mine.py").write_text(code)
    arguments = ["run", "--strategy", "./mine.py:Yours", *tiny, "--dry-run"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert "denoiser is no hook any more: use experts" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("other", ["lora", "router"])
def test_what_holds_weights_is_refused_beside_adapters_and_what_says_nothing_is_not(
    tiny: list[str], other: str
) -> None:
    holds = "    traits = Traits(does=frozenset({Does.HOLDS_WEIGHTS}))\n"
    line = told(HEAD + holds, tiny, other)
    assert f"strategies {other} and mine cannot work together: every domain has weights" in line
    assert line.endswith("mine would hold them")
    Path("mine.py").write_text(HEAD)
    arguments = ["run", "--strategy", "./mine.py", "--strategy", other, *tiny, "--dry-run"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output


def test_a_batch_of_one_has_no_room_for_the_past(
    tiny: list[str],
) -> None:
    settings = ["--strategy", "replay", *tiny, "train.batch_size=1", "--dry-run"]
    result = CliRunner().invoke(main, ["run", *settings])
    assert result.exit_code == 2
    assert "train.batch_size=1 has no room" in result.stderr.splitlines()[-1]


def test_an_unrelated_field_called_ratio_is_nobodys_share(
    tiny: list[str],
) -> None:
    Path("mine.py").write_text(f"{HEAD}    ratio: float = 0.8\n")
    settings = ["--strategy", "./mine.py", "--strategy", "replay", *tiny, "--dry-run"]
    result = CliRunner().invoke(main, ["run", *settings])
    assert result.exit_code == 0, result.output


def test_fields_without_help_are_listed() -> None:
    fields = "    must: int\n    x: float = 0.8\n    many: list = field(default_factory=list)\n"
    head = HEAD.replace("import dataclass", "import dataclass, field")
    Path("mine.py").write_text(head + fields)
    result = CliRunner().invoke(main, ["list", "strategies", "./mine.py"])
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.strip().splitlines()]
    assert lines[-3:] == ["must (int)", "x=0.8 (float)", "many=[] (list)"]


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("from-scratch+ewc", "start anew"),
        ("joint+avalanche:ReplayPlugin", "learnt at once"),
        ("lora+avalanche:EWCPlugin:ewc_lambda=1", "weights of its own"),
        ("router+l2-sp", "every domain has weights of its own"),
        ("lora:where=block.0$", "names no layer of the net that can have an adapter"),
        ("distill:on=past", "add --strategy replay"),
        ("replay:size=3,size=4", "size is given twice"),
        ("replay+generative-distill:ratio=0.5", "leave no room"),
        ("freeze:parts=.*", "all of the weights"),
        ("lora:where=nonsense", "names no layer"),
        ("ewc:weight=inf", "weight"),
        ("si:xi=inf", "xi"),
        ("avalanche:ReplayPlugin:mem_size=-4", "mem_size"),
        ("avalanche:LRSchedulerPlugin:scheduler=StepLR,step_size=abc", "step_size"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_trained(
    tiny: list[str], strategy: str, message: str
) -> None:
    result = CliRunner().invoke(main, ["run", "--strategy", strategy, "--out", "run", *tiny])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
