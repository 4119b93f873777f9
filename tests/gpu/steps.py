"""Times of a training step in several ways, as ratios in one run; a JSON line for each.

python3 tests/gpu/steps.py [--device cuda] [--seconds 100] [--size 128] [--channels 64]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from cl_sr.data.samples import Samples
from cl_sr.degradations import Bicubic
from cl_sr.diffusion import NoiseSchedule, Parametrization
from cl_sr.models import Model, SR3UNet
from cl_sr.models.objective import DenoisingLoss, Objective

FLOPS = {(128, 64): 277.05e9}  # of a training step of one image, by size and channels
WAYS = (  # tf32, bf16, channels last, fused Adam, compiled
    ("fp32 eager", False, False, False, False, False),
    ("tf32", True, False, False, False, False),
    ("bf16", True, True, False, False, False),
    ("bf16 channels-last fused", True, True, True, True, False),
    ("bf16 fused compiled", True, True, False, True, True),
    ("bf16 channels-last fused compiled", True, True, True, True, True),
)

parser = argparse.ArgumentParser()
parser.add_argument("--device", default="cuda")
parser.add_argument("--seconds", type=float, default=100)
parser.add_argument("--size", type=int, default=128)
parser.add_argument("--channels", type=int, default=64)
parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
args = parser.parse_args()
device, end = torch.device(args.device), time.monotonic() + args.seconds
gpu = device.type == "cuda"


def tell(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def synchronize() -> None:
    if gpu:
        torch.cuda.synchronize()


def seconds_of(step: Callable[[], object], least: int = 3, most: int = 20) -> float:
    """Of a step: the median, after two to warm up."""
    times: list[float] = []
    for k in range(most):
        start = time.perf_counter()
        step()
        synchronize()
        if k > 1:
            times.append(time.perf_counter() - start)
        if len(times) >= least and time.monotonic() > end:
            break
    return sorted(times)[len(times) // 2]


def tflops(dtype: torch.dtype) -> float:
    """Of a product of matrices: what the device can do at best."""
    n = 8192 if gpu else 256
    a = torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / seconds_of(lambda: a @ a) / 1e12


def training_step(
    batch: int, bf16: bool, last: bool, fused: bool, compiled: bool
) -> Callable[[], object]:
    """One iteration, as the template does it, without its bookkeeping."""
    hr = torch.randint(0, 256, (batch, 3, args.size, args.size), dtype=torch.uint8)
    degradation = Bicubic(4)
    packed = Samples(degradation.degrade(hr), hr).packed().to(device)
    net = SR3UNet(inner_channel=args.channels, image_size=args.size, dropout=0.2)
    model = Model(net, NoiseSchedule.linear(), Parametrization("v", "residual"))
    objective = Objective(model, degradation).to(device)
    if last:
        objective.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4, fused=fused or None)
    loss = DenoisingLoss("l2")
    if compiled:
        objective.net = torch.compile(net)  # type: ignore[assignment]

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            seen = objective.show(packed)
        loss(seen.packed(), None).backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    name = torch.cuda.get_device_name() if gpu else "cpu"
    peaks = {str(d).removeprefix("torch."): tflops(d) for d in (torch.float32, torch.bfloat16)}
    tell(torch=torch.__version__, device=name)
    tell(matmul_tflops={kind: round(value, 3) for kind, value in peaks.items()})
    torch.backends.cudnn.benchmark = True
    for batch in args.batches:
        first: float | None = None
        for title, tf32, bf16, last, fused, compiled in WAYS:
            if time.monotonic() > end - (25 if compiled else 0):
                tell(batch=batch, what=title, left_out="no time")
                continue
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            try:
                began = time.monotonic()
                step = training_step(batch, bf16, last, fused, compiled)
                step()
                synchronize()
                start = time.monotonic() - began
                seconds = seconds_of(step)
                first = first or seconds
                flops = FLOPS.get((args.size, args.channels))
                rate = flops and flops * batch / seconds / 1e12
                tell(
                    batch=batch,
                    what=title,
                    seconds=round(seconds, 4),
                    first=round(start, 1),
                    ratio=round(first / seconds, 2),
                    images_per_second=round(batch / seconds, 1),
                    of_bf16_matmul=rate and round(rate / peaks["bfloat16"], 3),
                    peak_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
                )
            except Exception as error:  # the next way may still tell something
                tell(batch=batch, what=title, error=f"{type(error).__name__}: {error}"[:300])
            finally:
                step = None  # type: ignore[assignment]
                torch._dynamo.reset()
                if gpu:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
