#!/usr/bin/env bash
# The table of semantic IDs in docs/experiments.md: the same short training on several ID sets.
#
#   benchmarks/id_sets.sh scientific /path/to/research-data "text balanced rq-vae opq rqvae_native"
#   benchmarks/id_sets.sh beauty     /path/to/research-data "text both"
#
# Sets: text, both (text and co-occurrence in training), each with residual k-means; balanced,
# rq-vae, opq on the vectors of the main table (text for scientific, both for beauty); and every
# file of DATA/DATASET/semantic_ids by its name (rkmeans_native, rkmeans_zcr, ...).
# One seed, d 128, few epochs, validation only: enough to compare IDs, not to stand beside the main
# rows, so that the method is called beam-id-sets. Resumable: run the same line again.
set -euo pipefail
dataset=$1 data=$2 sets=$3
cd "$(dirname "$0")/.."
sidestep=${SIDESTEP:-.venv/bin/sidestep}
home=runs/$dataset
declare -A epochs=([scientific]=12 [beauty]=6) main=([scientific]=text [beauty]=both)

[[ -d $home/dataset ]] || $sidestep import lcrec "$data/$dataset" --out "$home/dataset"
mkdir -p "$home/ids"

# vectors SOURCES: prints the file of these vectors, made where it is missing.
vectors() {
    local file=$home/ids/$1.npy flags=(--text)
    [[ $1 == both ]] && flags+=(--collaborative)
    [[ -f $file ]] || $sidestep embed "$home/dataset" "${flags[@]}" --out "$file" >&2
    echo "$file"
}

for set in $sets; do
    catalog=$home/ids/$set run=$home/ids/$set-run
    case $set in
        text | both) made=(--vectors "$(vectors "$set")") ;;
        balanced | rq-vae | opq)
            made=(--vectors "$(vectors "${main[$dataset]}")" --method "$set") ;;
        *) made=(--published "$(echo "$data/$dataset"/semantic_ids/*"$set"*.json)") ;;
    esac
    [[ ${made[0]} == --published ]] || made+=(--codebook-sizes 256,256,256 --seed 0)
    [[ -d $catalog ]] || $sidestep tokenize "$home/dataset" "${made[@]}" --out "$catalog"
    [[ -d $run/bundle ]] || $sidestep train --config "configs/$dataset-transformer.yaml" \
        --dataset "$home/dataset" --catalog "$catalog" --out "$run" --seed 0 --set model.dim=128 \
        --set training.learning_rate=0.002 --set "training.epochs=${epochs[$dataset]}" \
        --set training.validate_every=3
    [[ -f $run/validation.done ]] && continue
    $sidestep evaluate "$run" --split validation --method beam-id-sets --search beam --codes "$set" \
        --results benchmarks/results/quality.jsonl
    touch "$run/validation.done"
done
