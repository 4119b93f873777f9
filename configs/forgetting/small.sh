#!/usr/bin/env bash
# Every strategy on celeba-anime with the preset forgetting/small, three seeds. What is done already
# is left alone, what was stopped is taken up: the script can be called again at any time.
#
#   bash configs/forgetting/small.sh DIR OUT [SEED...]     DIR/celeba and DIR/animef; - for stand-ins
#   cl-sr compare OUT
#
# Two seeds at a time, one a core:   bash small.sh DIR OUT 0 & bash small.sh DIR OUT 1
#
# Strategies that need nothing of the first domain but its images start from the weights that plain
# fine-tuning had after it. Options were chosen with eval.split=validation (docs/forgetting.md).
set -euo pipefail
data=$1 out=$2
seeds=("${@:3}")
[ ${#seeds[@]} -gt 0 ] || seeds=(0 1 2)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # nets as small as this one need no more
common=(--stream "${STREAM:-celeba-anime}" --preset forgetting/small checkpoint.minutes=1)
[ "$data" = - ] || common+=(--data "$data")
first=${FIRST:-1500} next=${NEXT:-500} # iterations; ten times as many: FIRST=15000 NEXT=5000

run() { # SEED NAME STRATEGY [MORE...]
  echo "seed $1: $3"
  cl-sr run "${common[@]}" --seed "$1" --strategy "$3" --out "$out/$2-$1" --resume auto "${@:4}" \
    > "$out/$2-$1.log" 2>&1 || { tail -n 3 "$out/$2-$1.log"; exit 1; }
}

mkdir -p "$out"
for seed in "${seeds[@]}"; do
  whole=("train.iterations=[$first,$next]")
  later=("train.iterations=[0,$next]" --init "$out/finetune-$seed/checkpoints/celeba")
  run "$seed" finetune finetune "${whole[@]}"
  # What the bar is about
  run "$seed" router router "${later[@]}"
  run "$seed" generative-wise generative-distill+wise-ft "${later[@]}"
  run "$seed" replay4-wise replay:size=4+wise-ft "${later[@]}"
  run "$seed" replay16-wise replay:size=16+wise-ft "${later[@]}"
  [ -z "${BAR_ONLY:-}" ] || continue
  # All others
  run "$seed" replay16 replay:size=16 "${later[@]}"
  run "$seed" replay160 replay:size=160 "${later[@]}"
  run "$seed" replay-distill replay:size=16+distill:on=past "${later[@]}"
  run "$seed" generative generative-distill "${later[@]}"
  run "$seed" distill distill "${later[@]}"
  run "$seed" wise-ft wise-ft "${later[@]}"
  run "$seed" lora lora "${later[@]}"
  run "$seed" ewc ewc "${later[@]}"
  run "$seed" l2-sp l2-sp "${later[@]}"
  run "$seed" freeze freeze "${later[@]}"
  run "$seed" timestep-window timestep-window:stop=1000 "${later[@]}"
  run "$seed" window-experts window-experts:stop=1000 "${later[@]}"
  run "$seed" si si "${whole[@]}"
  run "$seed" from-scratch from-scratch "${whole[@]}"
  run "$seed" joint joint "${whole[@]}"
  run "$seed" ddnm ddnm:steps=20 "${whole[@]}"
done
