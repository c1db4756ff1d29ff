#!/usr/bin/env bash
# The rows of the transition graph and of item-to-item transitions; nothing is trained.
#
#   benchmarks/graph.sh /path/to/research-data "scientific beauty toys sports"
#
# Resumable: run the same line again, and what is finished is skipped. Appends validation and test,
# seen items kept and left out, to benchmarks/results/quality.jsonl. The settings were chosen on
# validation of scientific and beauty, so the other data sets had one trial.
set -euo pipefail
data=$1 datasets=${2:-scientific beauty toys sports}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
results=benchmarks/results/quality.jsonl
declare -A trials=([scientific]=73 [beauty]=46)

# measure RUN METHOD TRIALS: evaluates once; the log says that it is done.
measure() {
    local run=$1 method=$2 trials=$3 split
    for split in validation test; do
        [[ ! -f $run/$split.done ]] || continue
        $sidestep evaluate "$run" --split "$split" --results "$results" --selected \
            --method "$method" --trials "$trials"
        $sidestep evaluate "$run" --split "$split" --results "$results" --selected \
            --method "$method-unseen" --exclude-seen --trials "$trials"
        touch "$run/$split.done"
    done
}

for dataset in $datasets; do
    home=runs/$dataset
    sources=(--text)
    # Five terms per item say little, so co-occurrence in training stands beside them.
    [[ $dataset == scientific ]] || sources+=(--collaborative)
    if [[ ! -d $home/dataset ]]; then
        case $dataset in
            scientific | beauty)
                $sidestep import lcrec "$data/$dataset" --out "$home/dataset" ;;
            *)
                $sidestep import p5 "$data/$dataset" --items "$data/$dataset/item_terms.json" \
                    --out "$home/dataset" ;;
        esac
    fi
    [[ -f $home/vectors.npy ]] ||
        $sidestep embed "$home/dataset" "${sources[@]}" --out "$home/vectors.npy"
    [[ -d $home/graph/bundle ]] || $sidestep train --config configs/graph.yaml \
        --set embeddings="$home/vectors.npy" --dataset "$home/dataset" --out "$home/graph"
    measure "$home/graph" graph "${trials[$dataset]:-1}"
    [[ -d $home/transitions/bundle ]] || $sidestep train --set kind=graph --set max_history=1 \
        --set max_distance=1 --dataset "$home/dataset" --out "$home/transitions"
    measure "$home/transitions" transitions 1
done
