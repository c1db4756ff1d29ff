#!/usr/bin/env bash
# The rows of guided search in docs/experiments.md: product codes, a short training with a tied item head, then
# beams guided by that head, and by it and a SASRec together (`tied`); the same with a head of rows of its own,
# and a process reward model beside it (`short`); what a process reward model and a value head make of the
# network with the tied head (`beside`).
#
#   benchmarks/guided.sh scientific /path/to/research-data "0 1 2"
#   benchmarks/guided.sh beauty     /path/to/research-data "0 1 2" "tied beside"
#
# The rows with SASRec need the runs sasrec-SEED of benchmarks/quality.sh, and of two seeds for two SASRecs.
# Resumable: run the same line again. Appends to benchmarks/results/quality.jsonl.
set -euo pipefail
dataset=$1 data=$2 seeds=${3:-0} rows=${4:-tied short}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
catalog=$home/opq-3x256
# Beauty has five terms per item and no titles, so co-occurrence in training stands beside them.
sources=(--text) every=3
[[ $dataset == beauty ]] && sources+=(--collaborative) every=4

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
[[ -f $home/vectors.npy ]] ||
    $sidestep embed "$home/dataset" "${sources[@]}" --out "$home/vectors.npy"
[[ -d $catalog ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method opq --codebook-sizes 256,256,256 --seed 0 --out "$catalog"

# measure RUN METHOD ARGUMENTS...: evaluates on both splits, once; a mark says that it is done.
measure() {
    local run=$1 method=$2 split
    shift 2
    for split in validation test; do
        [[ -f $run/$method-$split.done ]] && continue
        $sidestep evaluate "$run" --split "$split" --batch-size 128 --selected --codes opq-3x256 \
            --results benchmarks/results/quality.jsonl --method "$method" "$@"
        touch "$run/$method-$split.done"
    done
}

# trained RUN SETTINGS...: a narrow Transformer for a few epochs.
trained() {
    local run=$1
    shift
    [[ -d $run/bundle ]] || $sidestep train --config "configs/$dataset-transformer.yaml" \
        --dataset "$home/dataset" --catalog "$catalog" --out "$run" --seed "$seed" \
        --set model.dim=128 --set training.learning_rate=0.002 --set training.epochs=12 \
        --set training.validate_every=$every "$@"
}

with_tied_head() {
    local tied=$home/tied-$seed sasrec=$home/sasrec-$seed
    trained "$tied" --set model.tied_item_head=true --set model.repeat_bias=true
    measure "$tied" item-beam-tied --search item-beam --likelihood-weight 0.5 --trials 4
    measure "$tied" item-beam-tied-unseen --search item-beam --likelihood-weight 0.5 --trials 4 \
        --exclude-seen
    if [[ -d $sasrec/bundle ]]; then
        [[ -d $home/guided-$seed ]] || $sidestep attach "$tied" --ranker "$sasrec" \
            --weight 0.5 --likelihood-weight 0.5 --out "$home/guided-$seed"
        measure "$home/guided-$seed" item-beam-tied+sasrec --search item-beam --trials 4
    fi
    local next=$home/sasrec-$(((seed + 1) % 3))
    if [[ -d $sasrec/bundle && -d $next/bundle ]]; then
        [[ -d $home/two-sasrecs-$seed ]] || $sidestep attach "$sasrec" --ranker "$next" \
            --weight 1 --out "$home/two-sasrecs-$seed"
        measure "$home/two-sasrecs-$seed" sasrec+sasrec --trials 8
    fi
}

with_own_head() {
    local run=$home/short-$seed prm=$home/prm-$seed
    trained "$run"
    measure "$run" item-beam --search item-beam --likelihood-weight 0.5 --trials 6
    [[ -d $prm/bundle ]] || $sidestep train --config configs/process-reward.yaml \
        --dataset "$home/dataset" --out "$prm" --seed "$seed" --set backbone="$run"
    measure "$prm" prm-beam --search prm-beam --trials 5
}

beside_tied_head() {
    local tied=$home/tied-$seed prm=$home/tied-prm-$seed values=$home/tied-values-$seed
    measure "$tied" beam-tied --search beam --trials 1
    [[ -d $prm/bundle ]] || $sidestep train --config configs/process-reward.yaml \
        --dataset "$home/dataset" --out "$prm" --seed "$seed" --set backbone="$tied" \
        --set training.epochs=2 --set training.validate_every=1
    measure "$prm" prm-beam --search prm-beam --trials 1
    [[ -d $values/bundle ]] || $sidestep train --config configs/value.yaml \
        --dataset "$home/dataset" --out "$values" --seed "$seed" --set backbone="$tied" \
        --set embeddings="$home/vectors.npy" --set training.epochs=2
    measure "$values" ved --search ved --search-option warm_width=25 \
        --search-option paths_per_round=32 --search-option answer_likelihood_weight=1 --trials 1
}

for seed in $seeds; do
    [[ $rows != *tied* ]] || with_tied_head
    [[ $rows != *short* ]] || with_own_head
    [[ $rows != *beside* ]] || beside_tied_head
done
