#!/usr/bin/env bash
# The rows of reinforcement learning in docs/experiments.md: the networks of benchmarks/guided.sh, further
# trained by likelihood (the controls), on rewards and on preferences; what searches by values after a value
# head was trained beside them. The first seed alone has the rows that the page has one seed of.
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

benchmarks/guided.sh scientific "$data" "$seeds" short

# measure RUN METHOD: by plain beams, and by beams that the item head guides, on both splits.
measure() {
    local run=$1 method=$2 split
    for split in validation test; do
        [[ -f $run/align-$split.done ]] && continue
        $sidestep evaluate "$run" --split "$split" --batch-size 128 --results "$results" --selected \
            --trials 8 --method "$method" --codes opq-3x256 --search beam
        $sidestep evaluate "$run" --split "$split" --batch-size 128 --results "$results" --selected \
            --trials 8 --method "$method-item" --codes opq-3x256 --search item-beam \
            --likelihood-weight 0.5
        touch "$run/align-$split.done"
    done
}

# improve BASE NAME RECIPE ARGUMENTS...: trains beside the base, and measures.
improve() {
    local base=$1 name=$2 recipe=$3
    shift 3
    [[ -d $home/$name-$seed/bundle ]] || $sidestep align "$base" --recipe "$recipe" \
        --dataset "$home/dataset" --out "$home/$name-$seed" --seed "$seed" "$@"
    measure "$home/$name-$seed" "$name"
}

first=${seeds%% *}
for seed in $seeds; do
    base=$home/short-$seed valued=$home/value-$seed
    by_values=(--embeddings "$home/vectors.npy")
    measure "$base" sft
    improve "$base" sft-continued sft-continued --set training.epochs=2
    improve "$base" sft-continued-longer sft-continued --set training.epochs=5
    improve "$base" sft-continued-longest sft-continued --set training.epochs=10
    improve "$home/sft-continued-longest-$seed" grpo-beam-optimum-longest optimum
    improve "$base" grpo-beam-open grpo-open
    improve "$base" grpo-beam-optimum optimum
    [[ -d $valued/bundle ]] || $sidestep train --config configs/value.yaml --dataset "$home/dataset" \
        --out "$valued" --seed "$seed" --set backbone="$base" --set embeddings="$home/vectors.npy" \
        --set training.precision=fp32 --set training.epochs=8
    improve "$valued" vstar vstar "${by_values[@]}"
    improve "$valued" vstar-optimum vstar-optimum
    improve "$base" grpo-beam grpo-beam
    [[ $seed == "$first" ]] || continue
    improve "$valued" grpo-ved grpo-ved "${by_values[@]}"
    improve "$valued" sibling-ved sibling-ved "${by_values[@]}"
    [[ -d $home/sdpo-$seed/bundle ]] || $sidestep prefer "$base" --recipe sdpo \
        --dataset "$home/dataset" --out "$home/sdpo-$seed" --seed "$seed"
    measure "$home/sdpo-$seed" sdpo
done
