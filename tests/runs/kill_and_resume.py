"""Kill `cl-sr run` with SIGKILL at random moments, resume, and compare every bit.

    python tests/runs/kill_and_resume.py --kills 50

Half of the kills come after a random time, half inside the writing of a checkpoint, at a random one
of the steps in which files reach the disk.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from strategy_cases import ALL, TOGETHER

SETTINGS = [
    "data.size=16", "data.standin_images=20", "model.inner_channel=8", "model.channel_mults=[1, 1]",
    "model.attn_res=[8]", "model.res_blocks=1", "model.norm_groups=4", "model.dropout=0.1",
    "train.iterations=[12, 10]", "train.batch_size=4", "eval.every=3", "eval.images=3",
    "eval.steps=2", "eval.samples=2", "checkpoint.every=2", "device=cpu",
]  # fmt: skip
# argv[1] is the step in writing folders at which the process kills itself; 0: never.
COMMAND = """
import os, signal, sys
import cl_sr.files as files
last, steps = int(sys.argv.pop(1)), 0
def fatal(function):
    def call(*arguments):
        global steps
        steps += 1
        if steps == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call
files._sync, files.os.replace = fatal(files._sync), fatal(files.os.replace)
from cl_sr.cli.main import main
main(prog_name="cl-sr")
"""


def start(folder: Path, strategy: str, *more: str, step: int = 0) -> subprocess.Popen[str]:
    arguments = ["run", "--out", str(folder), "--strategy", strategy, *SETTINGS, *more]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(step), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise AssertionError(f"exit code {process.returncode}:\n{output}")


def results(folder: Path) -> dict[str, bytes]:
    """What must not depend on kills."""
    found = ["metrics.jsonl", "matrix.csv", "images.csv", "windows.csv", "config.yaml"]
    found += ["manifest.csv"]
    found += [
        str(p.relative_to(folder)) for p in folder.glob("checkpoints/[!i]*/model.safetensors")
    ]
    return {name: (folder / name).read_bytes() for name in found}


def kill_once(folder: Path, strategy: str, chance: random.Random, step: int | None = None) -> str:
    """Start or resume a run and kill it; tells how it was killed."""
    if step is None and chance.random() < 0.5:
        step = chance.randint(1, 60)
    process = start(folder, strategy, "--resume", "auto", step=step or 0)
    if not step:
        before = (folder / "status.json").stat().st_mtime if folder.exists() else 0.0
        while process.poll() is None and (
            not (folder / "status.json").exists()
            or (folder / "status.json").stat().st_mtime <= before
        ):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 2.5))
        process.kill()
    output, _ = process.communicate(timeout=300)
    if process.returncode == -signal.SIGKILL:
        return f"killed {f'at step {step} of writing' if step else 'after a random time'}"
    assert process.returncode == 0, output
    return "finished before the kill"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    names = [*ALL, *TOGETHER]
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(2) as pool:
        base = Path(place)
        list(pool.map(lambda name: finish(start(base / f"whole-{name}", name)), names))

        def attempt(number: int) -> tuple[str, list[str], bool]:
            chance = random.Random(options.seed * 1000 + number)
            name = names[number % len(names)]
            folder = base / f"cut-{number}"
            how = [kill_once(folder, name, chance)]
            if chance.random() < 0.5:
                how.append(kill_once(folder, name, chance))
            finish(start(folder, name, "--resume", "auto"))
            return name, how, results(folder) == results(base / f"whole-{name}")

        kills, number, equal = 0, 0, True
        while kills < options.kills:
            for name, how, same in pool.map(attempt, range(number, number + 4)):
                kills += sum(item.startswith("killed") for item in how)
                equal &= same
                print(f"{kills:3} {name:16} {'equal' if same else 'DIFFERENT'}: {', '.join(how)}")
            number += 4
        print(f"{kills} kills in {number} runs over {len(names)} strategies:",
              "every bit equal" if equal else "DIFFERENT")  # fmt: skip
        raise SystemExit(not equal)


if __name__ == "__main__":
    main()
