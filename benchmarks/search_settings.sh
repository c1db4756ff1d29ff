#!/usr/bin/env bash
# The rows on settings of searches in docs/experiments.md: one network of benchmarks/guided.sh and a
# value head beside it, the fixed 2,000 validation users, one setting at a time.
#
#   benchmarks/search_settings.sh /path/to/research-data
#
# Resumable: run the same line again. Appends to benchmarks/results/quality.jsonl.
set -euo pipefail
data=$1
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/scientific

benchmarks/guided.sh scientific "$data" 0 short
[[ -d $home/value-0/bundle ]] || $sidestep train --config configs/value.yaml \
    --dataset "$home/dataset" --out "$home/value-0" --seed 0 --set backbone="$home/short-0" \
    --set embeddings="$home/vectors.npy" --set training.epochs=8

# measure RUN NAME ARGUMENTS...: evaluates once; a mark says that it is done.
measure() {
    local run=$1 mark=$1/setting-$2.done
    shift 2
    [[ -f $mark ]] && return
    $sidestep evaluate "$run" --split validation --users 2000 --batch-size 128 \
        --codes opq-3x256 --results benchmarks/results/quality.jsonl "$@"
    touch "$mark"
}

# ved NAME OPTIONS...: at the tokens of a beam of 32, eight paths a round, answered by V + log π.
ved() {
    local name=$1 given=()
    shift
    [[ " $* " == *" paths_per_round="* ]] || set -- "$@" paths_per_round=8
    [[ " $* " == *" answer_likelihood_weight="* ]] || set -- "$@" answer_likelihood_weight=1
    for option; do given+=(--search-option "$option"); done
    measure "$home/value-0" "ved-$name" --search ved --beams 32 "${given[@]}"
}

ved plain
for beta in 0 0.3 1; do ved "beta-$beta" "exploration=$beta"; done
for weight in 0 0.3 1; do ved "entropy-$weight" "entropy_weight=$weight"; done
ved entropy-alone value_weight=0
for gate in always never; do ved "root-$gate" "root_gate=$gate"; done
for width in 4 16; do ved "warm-$width" "warm_width=$width"; done
for paths in 1 4 16 32; do ved "paths-$paths" "paths_per_round=$paths"; done
ved answer-by-values answer_likelihood_weight=0
for weight in 0 0.25 0.5 1 2 4; do
    measure "$home/short-0" "item-$weight" --search item-beam --likelihood-weight "$weight"
done
for weight in 0 0.5 1 2 4; do
    measure "$home/prm-0" "prm-$weight" --search prm-beam --likelihood-weight "$weight"
done
