#!/usr/bin/env bash
# What shops know beside the order of interactions: times, columns of items, columns of users.
#
#   benchmarks/side_information.sh /path/to/ml-100k "0 1 2"
#
# DATA_FOLDER holds MovieLens-100k as RecBole's atomic files: ml-100k.inter, ml-100k.item and
# ml-100k.user, as in the wheel of recbole. Every variant is one small SASRec; nothing else differs.
# EPOCHS (default 30) and OUT (default runs/ml-100k) may be set. Resumable: run the same line again.
# Appends to benchmarks/results/side_information.jsonl: validation and test, seen items left out.
set -euo pipefail
data=$1 seeds=${2:-0} epochs=${EPOCHS:-30}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=${OUT:-runs/ml-100k}
results=${RESULTS:-benchmarks/results/side_information.jsonl}

times='model.times=true'
items='model.item_columns={class: " "}'
users='model.user_columns={age: null, gender: null, occupation: null}'

[[ -d $home/dataset ]] || $sidestep import recbole "$data" --out "$home/dataset"

# train RUN SEED SETTINGS...: a SASRec; goes on where it was interrupted.
train() {
    local run=$1 seed=$2 each given=()
    shift 2
    [[ -d $run/bundle ]] && return
    for each in kind=sasrec max_history=50 model.max_items=50 model.dim=64 model.num_layers=2 \
        model.num_heads=2 model.dropout=0.3 training.epochs="$epochs" training.batch_size=32 \
        training.learning_rate=0.002 training.warmup_share=0.05 training.validate_every=5 \
        validation.num_users=null "$@"; do
        given+=(--set "$each")
    done
    $sidestep train "${given[@]}" --dataset "$home/dataset" --out "$run" --seed "$seed"
}

# measure RUN SPLIT METHOD: evaluates once; a file says that it is done.
measure() {
    [[ -f $1/$2.done ]] && return
    $sidestep evaluate "$1" --split "$2" --exclude-seen --method "$3" --results "$results" \
        --selected --trials 1
    touch "$1/$2.done"
}

for seed in $seeds; do
    train "$home/plain-$seed" "$seed"
    train "$home/times-$seed" "$seed" "$times"
    train "$home/items-$seed" "$seed" "$items"
    train "$home/users-$seed" "$seed" "$users"
    train "$home/all-$seed" "$seed" "$times" "$items" "$users"
    for variant in plain times items users all; do
        for split in validation test; do
            measure "$home/$variant-$seed" "$split" "sasrec-$variant"
        done
    done
done
