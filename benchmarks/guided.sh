#!/usr/bin/env bash
# The rows of guided search in docs/experiments.md: product codes, a short training, then searches
# guided by the network's item head and by a process reward model trained beside it.
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

# measure RUN NAME ARGUMENTS...: evaluates once; a mark says that it is done.
measure() {
    local run=$1 name=$2
    shift 2
    [[ -f $run/$name.done ]] && return
    $sidestep evaluate "$run" --results benchmarks/results/quality.jsonl "$@"
    touch "$run/$name.done"
}

for seed in $seeds; do
    run=$home/short-$seed prm=$home/prm-$seed
    [[ -d $run/bundle ]] || $sidestep train --config configs/scientific-transformer.yaml \
        --dataset "$home/dataset" --catalog "$catalog" --out "$run" --seed "$seed" \
        --set model.dim=128 --set training.learning_rate=0.002 --set training.epochs=12 \
        --set training.validate_every=3
    [[ -d $prm/bundle ]] || $sidestep train --config configs/process-reward.yaml \
        --dataset "$home/dataset" --out "$prm" --seed "$seed" --set backbone="$run"
    for split in validation test; do
        measure "$run" "$split" --split "$split" --search item-beam --likelihood-weight 0.5 \
            --selected --trials 6
        measure "$prm" "$split" --split "$split" --search prm-beam --selected --trials 5
    done
done
