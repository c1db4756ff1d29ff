#!/usr/bin/env bash
# REG4Rec on sets of codes: its own forms, what tree distillation by head and graph adds, and its
# ablations.
#
#   benchmarks/reg4rec.sh scientific /path/to/research-data "0 1 2"
#   benchmarks/reg4rec.sh beauty     /path/to/research-data "0"
#   benchmarks/reg4rec.sh toys       /path/to/research-data "0" taught
#   benchmarks/reg4rec.sh scientific /path/to/research-data "0" ablations
#
# The parts: own (by likelihood, CORP, PARS and MSRA), taught (tree distillation), main (both), ablations.
#
# Resumable: run the same line again, and what is finished is skipped, what was interrupted goes on.
# Appends the test rows to benchmarks/results/quality.jsonl, the rows of ablations with 2,000 users.
# Settings were chosen on validation of scientific. PRECISION=bf16 is faster where the processor has
# matrix units for it.
set -euo pipefail
dataset=$1 data=$2 seeds=${3:-0} part=${4:-main}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
results=benchmarks/results/quality.jsonl
codes=256,256,256,256,256,256,256,256
precision=${PRECISION:-auto}

sources=(--text) category='{column: terms, min_count: 3, separator: ","}'
shape=(--set model.num_layers=2 --set max_history=50) few=512 epochs=5
if [[ $dataset == scientific ]]; then
    category='{column: categories, min_count: 3}' shape=() few=256 epochs=8
else
    # Five terms per item say little, so co-occurrence in training stands beside them.
    sources+=(--collaborative)
fi

if [[ ! -d $home/dataset ]]; then
    case $dataset in
        scientific | beauty) $sidestep import lcrec "$data/$dataset" --out "$home/dataset" ;;
        *) $sidestep import p5 "$data/$dataset" --items "$data/$dataset/item_terms.json" \
            --out "$home/dataset" ;;
    esac
fi
[[ -f $home/vectors.npy ]] ||
    $sidestep embed "$home/dataset" "${sources[@]}" --out "$home/vectors.npy"
[[ -d $home/graph/bundle ]] || $sidestep train --config configs/graph.yaml \
    --dataset "$home/dataset" --out "$home/graph" --set embeddings="$home/vectors.npy"

# sets NAME METHOD SIZES OPTIONS...: a catalog of sets.
sets() {
    local name=$1 method=$2 sizes=$3
    shift 3
    [[ -d $home/$name ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
        --method "$method" --codebook-sizes "$sizes" --seed 0 --space sets --out "$home/$name" "$@"
}

# learn RUN CATALOG SEED OPTIONS...: a network over sets, by likelihood.
learn() {
    local run=$1 catalog=$2 seed=$3
    shift 3
    [[ -d $run/bundle ]] || $sidestep train --config configs/code-sets.yaml \
        --dataset "$home/dataset" --catalog "$home/$catalog" --out "$run" --seed "$seed" \
        --set "model.category_head=$category" --set training.precision="$precision" \
        "${shape[@]}" "$@"
}

# improve RUN OUT OPTIONS...
improve() {
    local run=$1 out=$2
    shift 2
    [[ -d $out/bundle ]] ||
        $sidestep align "$run" --out "$out" --set training.precision="$precision" "$@"
}

# measure RUN METHOD OPTIONS...: evaluates once; a file beside the run says that it is done.
measure() {
    local run=$1 method=$2 mark=$1/$2.done
    shift 2
    [[ $* == *--users* ]] && mark=$run/$method-of-some.done
    [[ -f $mark ]] && return
    $sidestep evaluate "$run" --batch-size 128 --split test --results "$results" \
        --method "$method" "$@"
    touch "$mark"
}

rewards=(--recipe reg4rec --set training.batch_size=16 --set objective.num_prompts=2000
    --set 'objective.likelihood={item_weight: 1.0, learned_steps: 3}' --set objective.scaling=mean-only
    --set objective.targets_per_window=2)

# own_rows: REG4Rec's own forms, by likelihood, with CORP and after PARS and MSRA.
own_rows() {
    local seed run
    sets opq-8x256 opq "$codes"
    for seed in $seeds; do
        run=$home/reg4rec-$seed
        learn "$run" opq-8x256 "$seed"
        measure "$run" reg4rec --search beam --selected
        measure "$run" item-head-reg4rec --search item-head --selected
        measure "$run" reg4rec-corp --search reg4rec --candidates 100 \
            --search-option threshold=0.2 --selected
        improve "$run" "$home/reg4rec-pars-$seed" "${rewards[@]}" --seed "$seed"
        measure "$home/reg4rec-pars-$seed" reg4rec-pars --search beam --selected
    done
}

# taught_rows: what tree distillation by head and graph adds.
taught_rows() {
    local seed run
    sets opq-8x256 opq "$codes"
    for seed in $seeds; do
        run=$home/reg4rec-$seed
        learn "$run" opq-8x256 "$seed"
        [[ -d $home/graphed-$seed/bundle ]] || $sidestep attach "$run" --ranker "$home/graph" \
            --weight 120 --out "$home/graphed-$seed"
        improve "$home/graphed-$seed" "$home/sets-graph-$seed" --recipe tree --seed "$seed" \
            --set order=fixed --set few_items=$few --set objective.chosen_share=1 \
            --set training.epochs=$epochs
        run=$home/sets-graph-$seed
        measure "$run" sets-tree+graph --search beam --selected
        measure "$run" sets-tree+graph-unseen --search beam --exclude-seen --selected
        measure "$run" item-head-sets-taught-by-graph --search item-head --selected
    done
}

# guides: a process reward model and values beside the network by likelihood, and the searches that they guide.
guides() {
    local seed guide
    for seed in $seeds; do
        for guide in process-reward value; do
            local given=()
            [[ $guide == value ]] && given=(--set embeddings="$home/vectors.npy")
            [[ -d $home/sets-$guide-$seed/bundle ]] || $sidestep train --config "configs/$guide.yaml" \
                --dataset "$home/dataset" --out "$home/sets-$guide-$seed" --seed "$seed" \
                --set backbone="$home/reg4rec-$seed" --set training.epochs=4 \
                --set training.precision="$precision" --set validation.num_users=500 \
                --set validation.num_beams=20 "${given[@]}"
        done
        measure "$home/sets-process-reward-$seed" reg4rec-guided --search prm-beam --users 2000 --selected
        measure "$home/sets-value-$seed" reg4rec-value-beam --search value-beam --users 2000 --selected
        measure "$home/sets-value-$seed" reg4rec-ved --search ved --users 2000 --selected
    done
}

ablations() {
    local seed number sizes
    sets opq-8x256 opq "$codes"
    for seed in $seeds; do
        learn "$home/reg4rec-$seed" opq-8x256 "$seed"
        improve "$home/reg4rec-$seed" "$home/reg4rec-no-msra-$seed" "${rewards[@]}" \
            --seed "$seed" --set objective.reward_horizon=1
        measure "$home/reg4rec-no-msra-$seed" reg4rec-no-msra --search beam --users 2000 --selected
        measure "$home/reg4rec-$seed" reg4rec --search beam --users 2000 --selected
        measure "$home/reg4rec-$seed" reg4rec-pairs --search beam --users 2000 --selected \
            --search-option codes_per_step=2
        for number in 2 4 8 12; do
            sizes=$(printf '256,%.0s' $(seq "$number"))
            sets "opq-${number}x256" opq "${sizes%,}"
            learn "$home/reg4rec-opq-$number-$seed" "opq-${number}x256" "$seed" \
                --set model.num_layers=2 --set training.epochs=6 \
                --set objective.learned_steps=$((number < 3 ? number : 3))
            measure "$home/reg4rec-opq-$number-$seed" "reg4rec-opq-$number" --search beam \
                --users 2000 --selected
        done
        sets mpq-8x256 mpq "$codes"
        sets rkmeans-8x256 residual-kmeans "$codes"
        for number in mpq rkmeans; do
            learn "$home/reg4rec-$number-8-$seed" "$number-8x256" "$seed" \
                --set model.num_layers=2 --set training.epochs=6
            measure "$home/reg4rec-$number-8-$seed" "reg4rec-$number-8" --search beam \
                --users 2000 --selected
        done
    done
    guides
}

case $part in
    main)
        own_rows
        taught_rows
        ;;
    own) own_rows ;;
    taught) taught_rows ;;
    ablations) ablations ;;
    *) echo "$part: is none of main, own, taught and ablations" >&2 && exit 2 ;;
esac
