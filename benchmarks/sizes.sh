#!/usr/bin/env bash
# More compute for a smaller model (docs/experiments.md, "Sizes and searches"): networks of several sizes with the tied
# item head, and the same shapes with a process reward model that learns together with them from the first step, as
# PROMISE trains both; then beams of several widths, guided beams and item-beams of each. `sizes.py` makes the table and
# the figure of what this writes into runs/DATASET/sizes.
#
#   benchmarks/sizes.sh scientific /path/to/research-data
#   benchmarks/sizes.sh scientific /path/to/research-data "64x2 128x4" "64x2"   # sizes, and those learned jointly
#
# Resumable: run the same line again.
set -euo pipefail
dataset=$1 data=$2 sizes=${3:-64x2 64x6 128x2 128x4 256x4} joint_sizes=${4:-64x2 128x4}
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
catalog=$home/opq-3x256
mkdir -p "$home/sizes"

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
[[ -f $home/vectors.npy ]] || $sidestep embed "$home/dataset" --text --out "$home/vectors.npy"
[[ -d $catalog ]] || $sidestep tokenize "$home/dataset" --vectors "$home/vectors.npy" \
    --method opq --codebook-sizes 256,256,256 --seed 0 --out "$catalog"

# A wider network takes a lower rate.
rate_of() {
    case $1 in
    64) echo 0.003 ;;
    128) echo 0.002 ;;
    *) echo 0.001 ;;
    esac
}

# measure RUN NAME OPTIONS...: one curve or row, on the same 2,000 validation users.
measure() {
    local run=$1 out=$home/sizes/$2.json
    shift 2
    [[ -f $out ]] || { $sidestep "$@" --json >"$out.part" && mv "$out.part" "$out"; }
}

for size in $sizes; do
    dim=${size%x*} layers=${size#*x}
    heads=$((dim / 32))
    training=(--seed 0 --set training.epochs=12 --set training.validate_every=3
        --set training.learning_rate="$(rate_of "$dim")")
    plain=$home/size-$size joint=$home/joint-$size
    [[ -d $plain/bundle ]] || $sidestep train --config "configs/$dataset-transformer.yaml" \
        --dataset "$home/dataset" --catalog "$catalog" --out "$plain" "${training[@]}" \
        --set model.dim="$dim" --set model.num_layers="$layers" --set model.num_heads="$heads" \
        --set model.tied_item_head=true --set model.repeat_bias=true
    kinds=size
    [[ " $joint_sizes " != *" $size "* ]] || kinds="size joint"
    [[ $kinds == size || -d $joint/bundle ]] || $sidestep train --config configs/process-reward.yaml \
        --dataset "$home/dataset" --out "$joint" "${training[@]}" --set backbone="$plain" \
        --set fresh_backbone=true --set 'objective.joint={item_weight: 1.0, distillation_weight: 2.0}'
    for kind in $kinds; do
        run=$home/$kind-$size
        measure "$run" "$kind-$size-beam" scale "$run" --searches beam --beams 10 \
            --times 1,2,5,10,20 --no-ceiling
        measure "$run" "$kind-$size-item-beam" scale "$run" --searches item-beam --beams 20 \
            --times 1,2,4,8 --likelihood-weight 0.5 --no-ceiling
        measure "$run" "$kind-$size-item-head" evaluate "$run" --split validation --users 2000 \
            --search item-head
    done
    [[ $kinds == size ]] || for weight in 0 0.5 1; do
        measure "$joint" "joint-$size-prm-beam-$weight" scale "$joint" --searches prm-beam \
            --beams 20 --times 1,2,4,8 --likelihood-weight "$weight" --no-ceiling
    done
done
