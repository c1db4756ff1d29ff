#!/usr/bin/env bash
# The quality table of docs/experiments.md: data, IDs, trainings and evaluations of one data set.
#
#   benchmarks/quality.sh scientific /path/to/research-data "0 1 2" "transformer sasrec popularity"
#   benchmarks/quality.sh beauty     /path/to/research-data "0"     "transformer sasrec popularity"
#
# Resumable: run the same line again, and what is finished is skipped, what was interrupted goes on.
# Appends to benchmarks/results/quality.jsonl: validation and test of the selected settings, guided by
# the network's own item head besides, and the exhaustive oracles on the fixed 2,000 test users.
set -euo pipefail
dataset=$1 data=$2 seeds=${3:-0} kinds=${4:-transformer sasrec popularity}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
results=benchmarks/results/quality.jsonl
# Trials on validation that each method was given; see docs/experiments.md.
declare -A trials=([scientific-transformer]=8 [scientific-sasrec]=8 [scientific-popularity]=1
    [beauty-transformer]=2 [beauty-sasrec]=7 [beauty-popularity]=1)
# Of the item head against log π, chosen on validation of scientific.
likelihood_weight=0.5 item_trials=4
# Beauty has five terms per item and no titles, so co-occurrence in training stands beside them.
sources=(--text); [[ $dataset == beauty ]] && sources+=(--collaborative)

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
[[ -f $home/vectors.npy ]] ||
    $sidestep embed "$home/dataset" "${sources[@]}" --out "$home/vectors.npy"
# The best IDs of docs/experiments.md; on beauty, product codes are not compared yet.
declare -A ids=([scientific]=opq [beauty]=residual-kmeans) names=([scientific]=opq [beauty]=text)
catalog=$home/${names[$dataset]}-3x256
[[ -d $catalog ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method "${ids[$dataset]}" --codebook-sizes 256,256,256 --seed 0 --out "$catalog"

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
            --catalog "$catalog" --out "$run" --seed "$seed"
        for split in validation test; do
            measure "$run" "$split" --split "$split" --selected --trials "${trials[$dataset-$kind]}"
        done
        [[ $kind == transformer ]] || continue
        measure "$run" oracle --split test --search exhaustive --users 2000 --selected \
            --trials "${trials[$dataset-$kind]}"
        for split in validation test; do
            measure "$run" "item-$split" --split "$split" --search item-beam \
                --likelihood-weight "$likelihood_weight" --selected --trials "$item_trials"
        done
        measure "$run" item-oracle --split test --search exhaustive-item --users 2000 --selected \
            --likelihood-weight "$likelihood_weight" --trials "$item_trials"
    done
done
