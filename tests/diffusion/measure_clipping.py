"""What clamping the clean estimate does to DDIM, with the net's noise and with noise derived again.

    python tests/diffusion/measure_clipping.py RUN --images 32

Restores test images of a run's first domain (stand-ins) by the weights after it, and prints a
table. docs/fidelity.md has the commands of the runs, and the figures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import yaml

from cl_sr.benchmarks import find_stream
from cl_sr.data.prepare import load_domain
from cl_sr.degradations import build_degradation
from cl_sr.degradations.pixels import to_floats
from cl_sr.diffusion import sample
from cl_sr.evaluation import psnr, ssim
from cl_sr.models import read_model

WAYS = {
    "ddim, eta=0, the net's noise": {"sampler": "ddim", "rederive": False},
    "ddim, eta=0, derived again": {"sampler": "ddim", "rederive": True},
    "ddim, eta=0.5, the net's noise": {"sampler": "ddim", "eta": 0.5, "rederive": False},
    "ddim, eta=0.5, derived again": {"sampler": "ddim", "eta": 0.5, "rederive": True},
    "ddim, eta=1, the net's noise": {"sampler": "ddim", "eta": 1.0, "rederive": False},
    "ddim, eta=1, derived again": {"sampler": "ddim", "eta": 1.0, "rederive": True},
    "ancestral": {"sampler": "ancestral"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, nargs="*", default=[5, 20, 100])
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    config = yaml.safe_load((arguments.run / "config.yaml").read_text())
    data, domain = config["data"], find_stream(config["stream"]).domains[0]
    loaded = load_domain(
        domain, None, size=data["size"], scale=data["scale"], standin_images=data["standin_images"]
    )
    hr = loaded.test[: arguments.images]
    degradation = build_degradation(data["kernel"], data["scale"])
    condition = to_floats(degradation.condition(degradation.degrade(hr)))
    model = read_model(arguments.run / "checkpoints" / domain.name)
    print(f"| {model.parametrization.prediction}, {model.parametrization.target} |", end="")
    print(" |".join(f" {steps} steps" for steps in arguments.steps), "|")
    print("|---|" + "---:|" * len(arguments.steps))
    for title, options in WAYS.items():
        cells = []
        for steps in arguments.steps:
            with torch.inference_mode():
                images = sample(model, condition, steps=steps, seeds=range(len(hr)), **options)
            restored = (images + 1) / 2
            one, other = psnr(restored, hr / 255).mean(), ssim(restored, hr / 255).mean()
            cells.append(f" {float(one):.2f} / {float(other):.3f} ")
        print(f"| {title} |{'|'.join(cells)}|", flush=True)


if __name__ == "__main__":
    main()
