"""Measures whether several tokenizers together rank better than several seeds of one tokenizer.

    python benchmarks/tokenizer_mixture.py runs/scientific/tree-0 runs/scientific/tree-codes1-0
    python benchmarks/tokenizer_mixture.py runs/scientific/tree-0 runs/scientific/tree-1

Each run is a policy over the codes of its own catalog; the catalogs have the same items. The
mixture gives an item the mean of the probabilities that the policies give it:

    p(item) = (1 / R) Σ_r p_r(codes of the item in catalog r)

All items are scored exactly, so no search hides a difference. Beams of equal width cost R times the
tokens of one policy; the printed FLOPs are those of beams of 50. The benchmark prints a table over
the fixed random validation users and, as its last line, one JSON object.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from result_line import add_results_option, finish
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.data.batches import row_batch
from sidestep.data.own_split import split_of
from sidestep.evaluation.evaluator import fixed_users
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.search.beam import BeamSearch
from sidestep.search.exhaustive import ExhaustiveSearch
from sidestep.step import HistoryBatch

METRICS = ("NDCG@10", "HR@1", "HR@10", "HR@50")


def main() -> None:
    """Measures the runs alone and together, and prints the result."""
    arguments = parsed()
    policies = [load_bundle(run) for run in arguments.runs]
    refuse_other_items(policies, arguments.runs)
    dataset = load_dataset(arguments.dataset or arguments.runs[0].parent / "dataset")
    rows = split_of(dataset).validation
    rows = rows.select(fixed_users(len(rows), arguments.users))
    names = [run.name for run in arguments.runs]
    found: dict[str, list[Tensor]] = {name: [] for name in (*names, "mixture")}
    flops = dict.fromkeys(names, 0.0)
    for chosen in np.array_split(np.arange(len(rows)), math.ceil(len(rows) / 32)):
        histories = row_batch(rows, chosen)
        targets = torch.from_numpy(rows.targets[chosen])
        each = [item_log_probs(policy, histories) for policy in policies]
        for name, policy, scores in zip(names, policies, each, strict=True):
            found[name].append(metrics_of(scores, targets))
            flops[name] += beam_flops(policy, histories) / len(rows)
        together = torch.stack(each).logsumexp(dim=0)
        found["mixture"].append(metrics_of(together, targets))
    flops["mixture"] = sum(flops.values())
    means = {name: torch.cat(values).mean(dim=0).tolist() for name, values in found.items()}
    print(f"{'policy':30} {'MFLOPs':>7} " + " ".join(f"{metric:>8}" for metric in METRICS))
    for name, values in means.items():
        numbers = " ".join(f"{value:8.4f}" for value in values)
        print(f"{name:30} {flops[name] / 1e6:7.0f} {numbers}")
    row = {
        "benchmark": "tokenizer_mixture",
        "users": len(rows),
        "runs": names,
        "catalogs": [policy.catalog.version for policy in policies],
        **{
            name: {**dict(zip(METRICS, values, strict=True)), "flops_per_user": flops[name]}
            for name, values in means.items()
        },
    }
    finish(row, arguments.results)


def refuse_other_items(policies: list[LoadedRecommender], runs: list[Path]) -> None:
    """Ends the benchmark where two catalogs do not hold the same items in the same order."""
    first = policies[0].catalog
    every = np.arange(first.num_items)
    for policy, run in zip(policies, runs, strict=True):
        theirs = policy.catalog
        if theirs.num_items != len(every) or list(theirs.ids_of(every)) != list(
            first.ids_of(every)
        ):
            raise SystemExit(f"{run} has other items than {runs[0]}; train both on one dataset.")


def item_log_probs(policy: LoadedRecommender, histories: HistoryBatch) -> Tensor:
    """The log-probability of every item under a policy: [users, items]."""
    num_items = policy.catalog.num_items
    search = ExhaustiveSearch(num_leaves=num_items)
    answer = policy.recommender(search).recommend(histories, num_items)
    scores = torch.full((len(answer.items), num_items), -torch.inf, dtype=answer.scores.dtype)
    return scores.scatter(1, answer.items, answer.scores)


def beam_flops(policy: LoadedRecommender, histories: HistoryBatch) -> float:
    """FLOPs of a plain beam of 50, summed over the users."""
    spent = policy.recommender(BeamSearch(num_beams=50)).recommend(histories, 50).spent
    assert spent.flops is not None, "a network over codes knows its FLOPs"
    return float(spent.flops.double().sum())


def metrics_of(scores: Tensor, targets: Tensor) -> Tensor:
    """The metrics of each user, in the order of `METRICS`; no two items tie but by chance."""
    rank = (scores > scores.gather(1, targets[:, None])).sum(dim=1)
    gain = torch.where(rank < 10, 1 / torch.log2(rank + 2.0), 0.0)
    return torch.stack([gain, *((rank < k).float() for k in (1, 10, 50))], dim=1)


def parsed() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="runs of policies over codes")
    parser.add_argument("--dataset", type=Path, help="default: 'dataset' beside the first run")
    parser.add_argument("--users", type=int, default=2000)
    add_results_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
