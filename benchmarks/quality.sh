#!/usr/bin/env bash
# The quality table of docs/experiments.md: data, IDs, trainings and evaluations of one data set.
#
#   benchmarks/quality.sh scientific /path/to/research-data "0 1 2" "transformer sasrec popularity"
#   benchmarks/quality.sh beauty     /path/to/research-data "0"     "transformer sasrec popularity"
#
# Resumable: run the same line again, and what is finished is skipped, what was interrupted goes on.
# Appends to benchmarks/results/quality.jsonl: validation and test of the selected settings, and the
# exhaustive oracle on the fixed 2,000 test users.
set -euo pipefail
dataset=$1 data=$2 seeds=${3:-0} kinds=${4:-transformer sasrec popularity}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
results=benchmarks/results/quality.jsonl
# Trials on validation that each method was given; see docs/experiments.md.
declare -A trials=([scientific-transformer]=8 [scientific-sasrec]=8 [scientific-popularity]=1
    [beauty-transformer]=2 [beauty-sasrec]=7 [beauty-popularity]=1)
# Beauty has five terms per item and no titles, so co-occurrence in training stands beside them.
sources=(--text); [[ $dataset == beauty ]] && sources+=(--collaborative)

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
[[ -f $home/vectors.npy ]] ||
    $sidestep embed "$home/dataset" "${sources[@]}" --out "$home/vectors.npy"
[[ -d $home/text-3x256 ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method residual-kmeans --codebook-sizes 256,256,256 --seed 0 --out "$home/text-3x256"

# measure RUN NAME ARGUMENTS...: evaluates once; the log says that it is done.
measure() {
    local run=$1 name=$2
    shift 2
    [[ -f $run/$name.done ]] && return
    $sidestep evaluate "$run" --results "$results" "$@"
    touch "$run/$name.done"
}

for seed in $seeds; do
    for kind in $kinds; do
        run=$home/$kind-$seed
        config=configs/$dataset-$kind.yaml
        [[ $kind == popularity ]] && config=configs/popularity.yaml
        [[ -d $run/bundle ]] || $sidestep train --config "$config" --dataset "$home/dataset" \
            --catalog "$home/text-3x256" --out "$run" --seed "$seed"
        how=()
        [[ $kind != transformer ]] || how=(--search beam)
        for split in validation test; do
            measure "$run" "$split" --split "$split" --selected \
                --trials "${trials[$dataset-$kind]}" "${how[@]}"
        done
        [[ $kind != transformer ]] || measure "$run" oracle --split test --search exhaustive \
            --users 2000 --selected --trials "${trials[$dataset-$kind]}"
    done
done
