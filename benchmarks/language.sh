#!/usr/bin/env bash
# Language models as recommenders, beside native networks on the same users: docs/experiments.md.
#
#   python benchmarks/smollm2.py runs/smollm2
#   benchmarks/language.sh /path/to/research-data "native sft minionerec sdpo vstar lc-rec titles"
#
# All rows learn from the same 2,000 users of `scientific` and are tested on 1,000 of them, by 20 beams. Resumable: run the
# same line again, and what is finished is skipped, what was interrupted goes on. Appends to benchmarks/results/quality.jsonl.
# MODEL is the folder of the language model. PRECISION=bf16 is faster where the processor has matrix units for it.
set -euo pipefail
data=$1 parts=${2:-native sft minionerec sdpo vstar lc-rec titles} seed=${SEED:-0}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/language
results=benchmarks/results/quality.jsonl
model=${MODEL:-runs/smollm2}
precision=${PRECISION:-auto}
searched=() # searches of language models compute in bf16 where PRECISION=bf16
[[ $precision == bf16 ]] && searched=(--precision bf16)

mkdir -p $home
[[ -d $home/whole ]] || $sidestep import lcrec "$data/scientific" --out $home/whole
[[ -d $home/dataset ]] || $sidestep data sample $home/whole --users 2000 --out $home/dataset
[[ -f $home/vectors.npy ]] || $sidestep embed $home/dataset --text --out $home/vectors.npy
[[ -d $home/catalog ]] || $sidestep tokenize $home/dataset --vectors $home/vectors.npy --method opq \
    --codebook-sizes 256,256,256 --seed 0 --out $home/catalog
[[ -d $home/titles ]] ||
    $sidestep tokenize $home/dataset --titles "$model" --title-tokens 8 --out $home/titles

# learn RUN OPTIONS...: a training, unless it is finished; goes on where it was interrupted.
learn() {
    local run=$1
    shift
    [[ -d $run/bundle ]] || $sidestep train --dataset $home/dataset --out "$run" --seed "$seed" "$@"
}

# language RUN OPTIONS...: a language model over codes or titles.
language() {
    local run=$1
    shift
    learn "$run" --config configs/language-model.yaml --set max_history=10 \
        --set model.language_model="$model" --set training.precision="$precision" \
        --set training.learning_rate=0.0005 --set validation.num_users=300 \
        --set validation.num_beams=10 "$@"
}

# improve COMMAND RUN OUT OPTIONS...
improve() {
    local command=$1 run=$2 out=$3
    shift 3
    [[ -d $out/bundle ]] || $sidestep "$command" "$run" --out "$out" --seed "$seed" \
        --set training.precision="$precision" --set training.batch_size=8 \
        --set objective.num_prompts=500 --set validation.num_users=200 \
        --set validation.num_beams=10 "$@"
}

# measure RUN METHOD OPTIONS...: seen items kept and left out; a file beside the run says that it is done.
measure() {
    local run=$1 method=$2
    shift 2
    [[ -f $run/$method.done ]] && return
    $sidestep evaluate "$run" --split test --users 1000 --batch-size 32 --results $results \
        --method "$method" --selected "$@"
    $sidestep evaluate "$run" --split test --users 1000 --batch-size 32 --results $results \
        --method "$method-unseen" --selected --exclude-seen "$@"
    touch "$run/$method.done"
}

native() {
    learn $home/tied-$seed --config configs/scientific-transformer.yaml --catalog $home/catalog \
        --set model.dim=128 --set model.tied_item_head=true --set model.repeat_bias=true \
        --set training.learning_rate=0.002
    measure $home/tied-$seed item-head --search item-head
    measure $home/tied-$seed beam-tied --search beam --beams 20
    learn $home/sasrec-$seed --config configs/scientific-sasrec-tuned.yaml
    measure $home/sasrec-$seed sasrec-tuned
    learn $home/graph --config configs/graph.yaml --set embeddings=$home/vectors.npy
    measure $home/graph graph
    learn $home/popularity --config configs/popularity.yaml
    measure $home/popularity popularity
}

sft() {
    language $home/lm-sft-$seed --catalog $home/catalog --set objective.tasks=none --set training.epochs=4
    measure $home/lm-sft-$seed lm-sft --search beam --beams 20 "${searched[@]}"
}

for part in $parts; do
    case $part in
        native) native ;;
        sft) sft ;;
        minionerec)
            sft
            improve align $home/lm-sft-$seed $home/lm-minionerec-$seed --recipe grpo-beam
            measure $home/lm-minionerec-$seed lm-minionerec --search beam --beams 20 "${searched[@]}"
            ;;
        sdpo)
            sft
            improve prefer $home/lm-sft-$seed $home/lm-sdpo-$seed --recipe sdpo
            measure $home/lm-sdpo-$seed lm-sdpo --search beam --beams 20 "${searched[@]}"
            ;;
        vstar)
            sft
            learn $home/lm-value-$seed --config configs/value.yaml \
                --set backbone=$home/lm-sft-$seed --set embeddings=$home/vectors.npy \
                --set training.precision="$precision" --set training.epochs=1 \
                --set validation.num_users=200 --set validation.num_beams=10
            improve align $home/lm-value-$seed $home/lm-vstar-$seed --recipe vstar \
                --embeddings $home/vectors.npy
            measure $home/lm-vstar-$seed lm-vstar --search beam --beams 20 "${searched[@]}"
            ;;
        lc-rec)
            language $home/lc-rec-$seed --catalog $home/catalog --set objective.tasks=lc-rec \
                --set objective.query_column=categories --set objective.texts_per_step=4 \
                --set training.epochs=3
            measure $home/lc-rec-$seed lc-rec --search beam --beams 20 "${searched[@]}"
            ;;
        titles)
            language $home/lm-titles-$seed --catalog $home/titles --set model.codes=titles \
                --set objective.tasks=none --set training.epochs=3
            measure $home/lm-titles-$seed bigrec --search grounded "${searched[@]}"
            learn $home/sasrec-$seed --config configs/scientific-sasrec-tuned.yaml
            [[ -d $home/d3-$seed/bundle ]] || $sidestep attach $home/lm-titles-$seed \
                --ranker $home/sasrec-$seed --weight 1 --out $home/d3-$seed
            measure $home/d3-$seed d3 --search item-beam --beams 20 "${searched[@]}"
            ;;
        *) echo "$part: is none of native, sft, minionerec, sdpo, vstar, lc-rec and titles" >&2 && exit 2 ;;
    esac
done
