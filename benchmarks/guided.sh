#!/usr/bin/env bash
# The rows of guided search in docs/experiments.md: product codes, a short training, the item head.
#
#   benchmarks/guided.sh /path/to/research-data "0 1 2"
#
# Resumable: run the same line again. Appends to benchmarks/results/quality.jsonl.
set -euo pipefail
data=$1 seeds=${2:-0}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/scientific
catalog=$home/opq-3x256

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/scientific" --out "$home/dataset"
[[ -f $home/vectors.npy ]] || $sidestep embed "$home/dataset" --text --out "$home/vectors.npy"
[[ -d $catalog ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method opq --codebook-sizes 256,256,256 --seed 0 --out "$catalog"

for seed in $seeds; do
    run=$home/short-$seed
    [[ -d $run/bundle ]] || $sidestep train --config configs/scientific-transformer.yaml \
        --dataset "$home/dataset" --catalog "$catalog" --out "$run" --seed "$seed" \
        --set model.dim=128 --set training.learning_rate=0.002 --set training.epochs=12 \
        --set training.validate_every=3
    for split in validation test; do
        [[ -f $run/$split.done ]] && continue
        $sidestep evaluate "$run" --split "$split" --search item-beam --likelihood-weight 0.5 \
            --selected --trials 6 --results benchmarks/results/quality.jsonl
        touch "$run/$split.done"
    done
done
