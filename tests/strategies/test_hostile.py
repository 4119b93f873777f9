"""Strategies of users that do the wrong thing: told in a line, and no run passes as finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cl_sr.cli.main import main

HEAD = """
from dataclasses import dataclass
import torch
from cl_sr.strategies import Strategy

@dataclass(frozen=True)
class Mine(Strategy):
    '''Wrong.'''
"""
CASES = [
    ("rehearsal(self, template, memory, size): return template.mb_x[:1].float()", "uint8 images"),
    ("rehearsal(self, template, memory, size): return template.mb_x[:0]", "uint8 images"),
    ("rehearsal(self, template, memory, size): return template.mb_x[:1, :3]", "uint8 images"),
    ("rehearsal(self, template, memory, size): return template.mb_x", "no room"),
    ("learning_rate(self, experience, rate): return -rate", "positive float"),
    ("learning_rate(self, experience, rate): return float('nan')", "positive float"),
    ("hold_out(self, template, length): return length", "at most"),
    ("hold_out(self, template, length): return -1", "at most"),
    ("begin(self, template, memory): memory['a/b'] = 1", "without '/'"),
    ("begin(self, template, memory): memory['a'] = object()", "tensor or a JSON value"),
    ("end(self, template, memory): memory['a'] = {1, 2}", "tensor or a JSON value"),
    ("begn(self, template, memory): pass", "did you mean the hook 'begin'"),
    ("denoiser(self, template, memory, lr): return lambda x, c, l: x[:, :1]", "must answer"),
    ("penalty(self, template, memory): raise KeyError('no')", "mine.py, line 9: KeyError"),
    ("penalty(self, template, memory): raise KeyError('no')", "strategy mine: /"),
    ("penalty(self, template, memory): pass", "penalty() must return one number"),
    ("penalty(self, template, memory): return torch.ones(2)", "penalty() must return one number"),
    ("penalty(self, template): return 0", "Mine.penalty must take (self, template, memory)"),
    ("target(self, template, memory, seen): return 3", "target() must return a tensor of shape"),
    ("model(self, config): 1 / 0", "strategy mine: /"),
    ("denoiser(self, template, memory, lr): return 3", "look at what"),
    ("adapt(self, template, memory): template.net.requires_grad_(False)", "no weight is left"),
    ("plugins(self, template): return [3]", "must return a list of Avalanche"),
    ("settle(self, template, memory): 1 / 0", "ZeroDivisionError"),
    ("conflict(self, other): 1 / 0", "ZeroDivisionError"),
]


@pytest.mark.parametrize(("hook", "message"), CASES)
def test_what_a_hook_does_wrong_is_told(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, hook: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"{HEAD}    def {hook}\n")
    strategies = ["--strategy", "./mine.py", "--strategy", "replay:size=4"]
    result = CliRunner().invoke(main, ["run", *strategies, "--out", "run", *tiny])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
    status = Path("run/status.json")
    assert not status.exists() or json.loads(status.read_text())["state"] == "failed"


def test_a_batch_of_one_has_no_room_for_the_past(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--strategy", "replay", *tiny, "train.batch_size=1", "--dry-run"]
    result = CliRunner().invoke(main, ["run", *settings])
    assert result.exit_code == 2
    assert "train.batch_size=1 has no room" in result.stderr.splitlines()[-1]


def test_an_unrelated_field_called_ratio_is_nobodys_share(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(f"{HEAD}    ratio: float = 0.8\n")
    settings = ["--strategy", "./mine.py", "--strategy", "replay", *tiny, "--dry-run"]
    result = CliRunner().invoke(main, ["run", *settings])
    assert result.exit_code == 0, result.output


def test_fields_without_help_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
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
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch, strategy: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "--strategy", strategy, "--out", "run", *tiny])
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    assert message in result.stderr.splitlines()[-1]
