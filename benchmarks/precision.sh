#!/usr/bin/env bash
# Adaptive precision against fp32 and bf16 (docs/experiments.md, "Adaptive precision"): the same
# training in the three precisions, and targets per second of their steps in turns. On the device
# that is there: a GPU, if there is one.
#
#   benchmarks/precision.sh scientific /path/to/research-data
#   benchmarks/precision.sh scientific /path/to/research-data "0 1 2" "--set training.epochs=3"
#
# Resumable: run the same line again. Appends to benchmarks/results/precision.jsonl.
set -euo pipefail
dataset=$1 data=$2 seeds=${3:-0} settings=${4:-}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
results=benchmarks/results/precision.jsonl

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
[[ -f $home/vectors.npy ]] || $sidestep embed "$home/dataset" --text --out "$home/vectors.npy"
[[ -d $home/opq-3x256 ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method opq --codebook-sizes 256,256,256 --seed 0 --out "$home/opq-3x256"

mkdir -p "$home/precision"
for seed in $seeds; do
    for precision in fp32 bf16 adaptive; do
        run=$home/precision/$precision-$seed
        # shellcheck disable=SC2086  # settings are several words
        [[ -d $run/bundle ]] || $sidestep train --config "configs/$dataset-transformer.yaml" \
            --dataset "$home/dataset" --catalog "$home/opq-3x256" --out "$run" --seed "$seed" \
            --set model.tied_item_head=true --set model.repeat_bias=true \
            --set training.precision=$precision $settings
        [[ -f $run/read ]] || "$(dirname "$sidestep")/python" benchmarks/precision.py \
            --runs "$run" --results "$results"
        touch "$run/read"
    done
done
"$(dirname "$sidestep")/python" benchmarks/precision.py --device auto --dim 256 \
    --results "$results"
