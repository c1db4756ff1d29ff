#!/usr/bin/env bash
# The rows of reinforcement learning in docs/experiments.md: the networks of benchmarks/guided.sh, further
# trained by likelihood for as long (the control), and on rewards.
#
#   benchmarks/align.sh /path/to/research-data "0 1 2"
#
# Resumable: run the same line again. Appends to benchmarks/results/quality.jsonl.
set -euo pipefail
data=$1 seeds=${2:-0}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/scientific
results=benchmarks/results/quality.jsonl

benchmarks/guided.sh "$data" "$seeds"

# measure RUN METHOD: by plain beams, and by beams that the item head guides, on both splits.
measure() {
    local run=$1 method=$2 split
    for split in validation test; do
        [[ -f $run/align-$split.done ]] && continue
        $sidestep evaluate "$run" --split "$split" --batch-size 128 --results "$results" --selected \
            --trials 8 --method "$method" --codes opq-3x256
        $sidestep evaluate "$run" --split "$split" --batch-size 128 --results "$results" --selected \
            --trials 8 --method "$method-item" --codes opq-3x256 --search item-beam \
            --likelihood-weight 0.5
        touch "$run/align-$split.done"
    done
}

for seed in $seeds; do
    base=$home/short-$seed
    # improve NAME RECIPE ARGUMENTS...: trains beside the base, and measures.
    improve() {
        local name=$1 recipe=$2
        shift 2
        [[ -d $home/$name-$seed/bundle ]] || $sidestep align "$base" --recipe "$recipe" \
            --dataset "$home/dataset" --out "$home/$name-$seed" --seed "$seed" "$@"
        measure "$home/$name-$seed" "$name"
    }
    # values: a head on the base, which the searches by values ask.
    values() {
        [[ -d $home/value-$seed/bundle ]] || $sidestep train --config configs/value.yaml \
            --dataset "$home/dataset" --out "$home/value-$seed" --seed "$seed" \
            --set backbone="$base" --set embeddings="$home/vectors.npy" \
            --set training.precision=fp32 --set training.epochs=8
    }
    measure "$base" sft
    improve sft-continued sft-continued --set training.epochs=2
    improve sft-continued-longer sft-continued --set training.epochs=5  # as long as 'optimum' takes
    improve grpo-beam grpo-beam
    improve grpo-beam-open grpo-open
    improve grpo-beam-optimum optimum
    values
    base=$home/value-$seed
    improve vstar vstar --embeddings "$home/vectors.npy"
    improve vstar-optimum vstar-optimum
done
