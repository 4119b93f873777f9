"""Every shipped strategy with options that suit a run of seconds, and some that act together."""

from __future__ import annotations

from cl_sr.strategies import shipped_strategies

OPTIONS = {
    "avalanche": "avalanche:LRSchedulerPlugin:scheduler=StepLR,step_size=2,gamma=0.5",
    "ddnm": "ddnm:steps=2",
    "ewc": "ewc:samples=3",
    "generative-distill": "generative-distill:size=6",
    "lora": "lora:rank=2",
    "replay": "replay:size=6",
    "router": "router:rank=2",
    "wise-ft": "wise-ft:held_out=4",
    "window-experts": "window-experts:stop=1500",
}
ALL = [OPTIONS.get(name, name) for name in sorted(shipped_strategies())]
TOGETHER = [
    "replay:size=6,policy=reservoir+distill:on=past",
    "router:rank=2,train=factors+replay:size=4,mix=true",
    "timestep-window:stop=1500+replay:size=6,ratio=0.25"
    "+generative-distill:size=6,ratio=0.25+ewc:samples=3",
]
# A schedule that changes Adam's betas as well.
CYCLE = "avalanche:LRSchedulerPlugin:scheduler=OneCycleLR,max_lr=1e-3,total_steps=6"
