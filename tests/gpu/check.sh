#!/usr/bin/env bash
# On a machine with a GPU, within SECONDS (default 540): times of a training step, the tests that
# need a GPU, and the forgetting question at full size (97.8 M parameters, 16 to 128 pixels), with as
# many strategies as fit. Run it in the root of a clone, with Python's packages installed, and real
# images in $CL_SR_DATA/celeba and $CL_SR_DATA/animef (without: stand-ins). What it finds goes to
# OUT as it is found.
#
#   bash tests/gpu/check.sh OUT [SECONDS]
#
# DEVICE, PRESET, KEYS and STEPS try it elsewhere, in a minute on a CPU:
#
#   DEVICE=cpu PRESET=tiny STEPS="--size 32 --channels 32 --batches 2" FIRST=4 SECOND=3 \
#     KEYS="eval.images=4 eval.every=0 data.standin_images=60" bash tests/gpu/check.sh OUT 200
set -u
out=$1
limit=${2:-540}
began=$SECONDS
device=${DEVICE:-cuda}
preset=${PRESET:-sr3-16-128}
keys=${KEYS:-train.batch_size=64 train.lr=2e-4 train.ema=0.998 train.workers=12 \
  diffusion.prediction=v diffusion.target=residual eval.images=128 eval.batch_size=128 \
  eval.steps=25 eval.every=0 checkpoint.minutes=0}

left() { echo $((limit - (SECONDS - began))); }
say() { echo "[$((SECONDS - began)) s] $*" | tee -a "$out/log"; }

mkdir -p "$out"
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
{
  nvidia-smi
  python3 -c 'import cl_sr, platform, torch, torchvision
print(cl_sr.__version__, torch.__version__, torchvision.__version__, platform.python_version())'
} >"$out/machine.txt" 2>&1

say "steps"
timeout $(($(left) / 4)) python3 tests/gpu/steps.py --device "$device" \
  --seconds $(($(left) / 5)) ${STEPS:-} 2>>"$out/log" | tee "$out/steps.jsonl"

say "tests"
timeout $(($(left) / 4)) python3 -m pytest -q -m gpu -n0 -p no:cacheprovider >"$out/tests.txt" 2>&1
tail -n 3 "$out/tests.txt"

# Of what is left: half for the source and plain fine-tuning, the rest for strategies that start from
# that source. Iterations of 64 images a second, by the way that runs train in:
rate=$(python3 - "$out/steps.jsonl" <<'P'
import json, sys
rows = map(json.loads, open(sys.argv[1]))
print(max((row["images_per_second"] / 64 for row in rows
           if row.get("what") == "bf16 channels-last fused" and "seconds" in row), default=2.0))
P
)
budget=$(($(left) - 30))
read -r first second <<<"$(python3 -c "
n = max(20, int(0.75 * $rate * ($budget / 2 - 45)))  # starts and evaluations take about 45 s
print(int(n * 0.8), max(10, int(n * 0.2)))")"
first=${FIRST:-$first}
second=${SECOND:-$second}
say "rate $rate it/s of 64; source $first iterations, then $second on anime; $budget s"

run() { # NAME SECONDS ARGUMENTS...
  local name=$1 seconds=$2
  shift 2
  timeout -s TERM -k 10 "$seconds" python3 -m cl_sr run --stream celeba-anime --preset "$preset" \
    --device "$device" --out "$runs/$name" "$@" $keys >"$runs/$name.txt" 2>&1
  say "$name: exit $?, $(tail -n 1 "$runs/$name.txt" | cut -c1-150)"
  sed -n '1,30p' "$runs/$name/report.md" 2>/dev/null
  # One archive of all runs, made anew after each: without weights, and without pictures.
  tar czf "$out/runs.tgz" -C "$runs" --exclude='*.safetensors' --exclude='*.html' \
    --exclude='*.png' . 2>/dev/null
}

run finetune $((budget * 6 / 10)) "train.iterations=[$first,$second]"
source=$runs/finetune/checkpoints/celeba
if [ -d "$source" ]; then
  for strategy in router replay:size=16+distill:on=past generative-distill replay:size=1260; do
    if [ "$(left)" -lt 60 ]; then
      say "no time for $strategy"
      break
    fi
    run "${strategy//[^a-z0-9=-]/-}" $(($(left) - 5)) --init "$source" --strategy "$strategy" \
      "train.iterations=[0,$second]"
  done
fi
say "done"
