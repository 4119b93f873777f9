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
    ("penalty(self, template, memory): raise KeyError('no')", r"mine.py, line 9: KeyError"),
    ("target(self, template, memory, seen): return 3", "TypeError"),
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
    assert message.replace("\\", "") in result.stderr.splitlines()[-1]
    status = Path("run/status.json")
    assert not status.exists() or json.loads(status.read_text())["state"] == "failed"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("from-scratch+ewc", "start anew"),
        ("joint+avalanche:ReplayPlugin", "learnt at once"),
        ("lora+avalanche:EWCPlugin:ewc_lambda=1", "frozen under the adapters"),
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
