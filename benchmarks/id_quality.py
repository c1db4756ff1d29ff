"""Compares the report on semantic IDs with trained models: its numbers beside their recall.

    python benchmarks/id_quality.py --dataset runs/scientific/dataset \
        --vectors runs/scientific/vectors.npy \
        --catalogs runs/scientific/text-3x256 runs/scientific/rqvae_native ... \
        --runs runs/scientific/transformer-0 runs/scientific/transformer-rqvae_native-0 ...

Every run belongs to the catalog whose folder it was trained on (`codes` in its evaluations). Runs
of one catalog are averaged, so give each catalog the same seeds. HRecall@b@K is computed from the
lists, which hold the K best leaves. The benchmark prints tables and, as its last line, one JSON
object.

With few sets of IDs, a rank correlation is mostly chance. The p-value is computed from all, or from
ten thousand, pairings of the sets. It is not corrected for the many numbers that are tried.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import permutation_test, spearmanr

from sidestep.catalog.catalog import Catalog
from sidestep.data.own_split import split_of
from sidestep.embedding.vectors import load_vectors
from sidestep.evaluation.id_outcome import one_hit_inflation, prefix_recall
from sidestep.evaluation.id_quality import id_quality
from sidestep.evaluation.results import PerUser, read_per_user
from sidestep.runs.catalogs import refuse_other_items
from sidestep.runs.inputs import load_catalog, load_dataset

MIN_SETS = 4
"""Least number of sets of IDs for which a rank correlation is printed."""


def main() -> None:
    """Measures IDs and runs, and prints the result."""
    arguments = parsed()
    dataset = load_dataset(arguments.dataset)
    training = split_of(dataset).train
    vectors = (
        None
        if arguments.vectors is None
        else load_vectors(arguments.vectors, item_ids=dataset.items.item_ids)
    )
    catalogs = {path.resolve().name: load_catalog(path) for path in arguments.catalogs}
    for catalog in catalogs.values():
        refuse_other_items(catalog, dataset)
    outcomes = measured_runs(arguments, catalogs)
    numbers = {
        name: id_quality(
            catalog.semantic_ids.numpy(),
            catalog.codebook_sizes,
            training=training,
            vectors=vectors,
        ).numbers()
        for name, catalog in catalogs.items()
        if name in outcomes
    }
    correlations = rank_correlations(numbers, outcomes)
    print_tables(numbers, outcomes, correlations, arguments.k)
    print(
        json.dumps(
            {
                "benchmark": "id_quality",
                "dataset": dataset.name,
                "split": arguments.split,
                "k": arguments.k,
                "ids": {
                    name: {"numbers": numbers[name], "outcome": outcomes[name]} for name in numbers
                },
                "rank_correlations": correlations,
            }
        )
    )


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--vectors", type=Path, help="item vectors, the same for all IDs")
    parser.add_argument("--catalogs", type=Path, nargs="+", required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--k", type=int, default=10, help="leaves that count (default: 10)")
    return parser.parse_args()


def measured_runs(
    arguments: argparse.Namespace, catalogs: Mapping[str, Catalog]
) -> dict[str, dict[str, float]]:
    """HRecall by depth and inflation by collisions of each set of IDs, as means over its runs."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for run in evaluations(arguments.runs, arguments.split):
        name = run.setting.codes
        if name not in catalogs:
            raise ValueError(
                f"a run was trained on the semantic IDs {name!r}; --catalogs names "
                f"{', '.join(catalogs)}. Give that folder too, or leave the run out."
            )
        semantic_ids = catalogs[name].semantic_ids.numpy()
        recalls = prefix_recall(run, semantic_ids, k=arguments.k)
        outcome = {
            f"HRecall@{depth}@{arguments.k}": recall for depth, recall in enumerate(recalls, 1)
        }
        for metric, both in one_hit_inflation(run, semantic_ids, k=arguments.k).items():
            outcome |= {f"{metric} {how}": value for how, value in asdict(both).items()}
        found[name].append(outcome)
    return {
        name: {metric: fmean(run[metric] for run in runs) for metric in runs[0]}
        for name, runs in found.items()
    }


def evaluations(runs: Sequence[Path], split: str) -> list[PerUser]:
    """The beam searches of the runs on all rows of the split."""
    found = []
    for run in runs:
        files = sorted((run / "evaluations").glob(f"{split}-*/per_user.parquet"))
        beams = [each for each in map(read_per_user, files) if each.setting.search == "beam"]
        whole = [each for each in beams if each.setting.users == "all"]
        if len(whole) != 1:
            raise ValueError(
                f"{run}: {len(whole)} beam searches of all users on {split}, need one; run "
                f"'sidestep evaluate {run} --split {split}'."
            )
        found += whole
    return found


def rank_correlations(
    numbers: Mapping[str, Mapping[str, float]], outcomes: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Spearman's ρ over sets of IDs of every number with every HRecall, the strongest first."""
    correlations = []
    names = list(numbers)
    targets = dict.fromkeys(
        metric for name in names for metric in outcomes[name] if metric.startswith("HRecall")
    )
    for target in targets:
        for number in dict.fromkeys(number for name in names for number in numbers[name]):
            sets = [name for name in names if number in numbers[name] and target in outcomes[name]]
            x = np.array([numbers[name][number] for name in sets])
            y = np.array([outcomes[name][target] for name in sets])
            if len(sets) < MIN_SETS or len(set(x)) == 1 or len(set(y)) == 1:
                continue
            test = permutation_test(
                (x,),
                lambda dealt, y=y: spearmanr(dealt, y).statistic,
                permutation_type="pairings",
                rng=np.random.default_rng(0),
            )
            correlations.append(
                {
                    "number": number,
                    "target": target,
                    "sets": len(sets),
                    "rho": float(test.statistic),
                    "p_value": float(test.pvalue),
                }
            )
    return sorted(correlations, key=lambda found: (found["target"], -abs(found["rho"])))


def print_tables(
    numbers: Mapping[str, Mapping[str, float]],
    outcomes: Mapping[str, Mapping[str, float]],
    correlations: Sequence[Mapping[str, Any]],
    k: int,
) -> None:
    """Prints the recalls of each set of IDs, and for each recall the most correlated numbers."""
    for name in numbers:
        recalls = [v for metric, v in outcomes[name].items() if metric.startswith("HRecall")]
        honest, inflated = (outcomes[name][f"HR@{k} {how}"] for how in ("honest", "as_one_hit"))
        print(
            f"{name:28} HRecall@b@{k} {' '.join(f'{recall:.4f}' for recall in recalls)}   "
            f"HR@{k} {honest:.4f}, a shared ID as one hit {inflated:.4f} "
            f"(× {inflated / honest if honest else float('nan'):.3f})"
        )
    for target in dict.fromkeys(found["target"] for found in correlations):
        print(f"\n{target}: rank correlation over sets of IDs")
        for found in [found for found in correlations if found["target"] == target][:8]:
            print(
                f"  {found['number']:32} ρ {found['rho']:+.2f}  p {found['p_value']:.3f}  "
                f"({found['sets']} sets)"
            )
    if not correlations:
        print(f"\nNo rank correlation: fewer than {MIN_SETS} sets of IDs, or all the same.")


if __name__ == "__main__":
    main()
