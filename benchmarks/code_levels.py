"""Measures at which level of codes a policy loses what its item head knows.

    python benchmarks/code_levels.py runs/scientific/tied-0 --users 480
    python benchmarks/code_levels.py runs/scientific/tree-0 --teacher runs/scientific/tied-0

The item head gives the exact probability of each next code at every prefix: the probability of the
items below the longer prefix, divided by that of the items below the prefix. So each level of codes
can be chosen by the policy (P) or by the head (H), and every mixture ranks all items.
`divergence` is the mean divergence of the policy from the head at the prefixes of one length, in
nats, each prefix weighted by the head's probability of the items below it.

The network sees every prefix of the catalog once per user, so a few hundred users take minutes. The
benchmark prints a table and, as its last line, one JSON object.
"""

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sidestep.bundle.loaded import LoadedRecommender
from sidestep.catalog.trie import Trie
from sidestep.data.batches import row_batch
from sidestep.data.own_split import split_of
from sidestep.evaluation.evaluator import fixed_users
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.runs.backbones import network_of
from sidestep.runs.inputs import load_bundle, load_dataset
from sidestep.search.item_support import node_log_sums
from sidestep.step import HistoryBatch, log_probs
from sidestep.training.tree_distillation import next_code_log_probs

METRICS = ("NDCG@10", "HR@10", "HR@50")


def main() -> None:
    """Measures a run, and prints the result."""
    arguments = parsed()
    student = load_bundle(arguments.run)
    teacher = load_bundle(arguments.teacher or arguments.run)
    dataset = load_dataset(arguments.dataset or arguments.run.parent / "dataset")
    rows = split_of(dataset).validation
    rows = rows.select(fixed_users(len(rows), arguments.users))
    found: dict[str, list[Tensor]] = defaultdict(list)
    with torch.no_grad():
        for start in range(0, len(rows), arguments.batch_size):
            chosen = np.arange(start, min(len(rows), start + arguments.batch_size))
            histories = row_batch(rows, chosen).latest(student.max_history)
            targets = torch.from_numpy(rows.targets[chosen])
            for name, values in measured(student, teacher, histories, targets).items():
                found[name].append(values)
    means = {name: float(torch.cat(values).mean()) for name, values in found.items()}
    print_table(means)
    print(json.dumps({"benchmark": "code_levels", "users": len(rows), **means}))


def measured(
    student: LoadedRecommender,
    teacher: LoadedRecommender,
    histories: HistoryBatch,
    targets: Tensor,
) -> dict[str, Tensor]:
    """One value per user of each metric of each mixture, and of the divergence of each level."""
    trie, network = student.catalog.trie, network_of(student)
    scorer, head = network_of(teacher), network_of(teacher).item_scorer
    if head is None:
        raise SystemExit("the teacher has no item head; train one with model.item_head: true.")
    root, _ = scorer.encode(histories, capacity=1)
    items = head.item_logits(root.hidden[:, 0], histories).float().log_softmax(dim=1)
    masses = node_log_sums(items, trie)
    of_policy = policy_log_probs(network, histories, trie)
    values, of_head = {}, []
    for level, states in enumerate(inner_states(trie)):
        exact = next_code_log_probs(masses, states.expand(len(targets), -1), trie)
        of_head.append(exact)
        gaps = (exact.exp() * (exact - of_policy[level]).masked_fill(exact == -torch.inf, 0)).sum(2)
        values[f"divergence {level + 1}"] = (masses[:, states].exp() * gaps).sum(dim=1)
    for chooser in itertools.product("PH", repeat=trie.num_levels):
        mixed = [
            of_head[level] if who == "H" else of_policy[level] for level, who in enumerate(chooser)
        ]
        scores = item_scores(mixed, trie)
        rank = (scores > scores.gather(1, targets[:, None])).sum(dim=1)
        name = "".join(chooser)
        values[f"{name} NDCG@10"] = torch.where(rank < 10, 1 / torch.log2(rank + 2.0), 0.0)
        values[f"{name} HR@10"] = (rank < 10).float()
        values[f"{name} HR@50"] = (rank < 50).float()
    return values


def inner_states(trie: Trie) -> list[Tensor]:
    """The states of each depth at which a code may follow."""
    return [torch.arange(*_ends(trie, depth)) for depth in range(trie.num_levels)]


def _ends(trie: Trie, depth: int) -> tuple[int, int]:
    nodes = trie.nodes_at(depth)
    return nodes.start, nodes.stop


def policy_log_probs(network: SemanticIdModel, histories: HistoryBatch, trie: Trie) -> list[Tensor]:
    """By level, log-probabilities of the codes after every prefix: [users, prefixes, codes]."""
    users = len(histories.lengths)
    by_depth = inner_states(trie)
    root, context = network.encode(histories, capacity=sum(map(len, by_depth)))
    found = [log_probs(root, trie.legal(by_depth[0].expand(users, 1)))]
    # States are numbered depth by depth, as slots are here, and both count the root as 0.
    for depth, states in enumerate(by_depth[1:], start=1):
        shape = (users, len(states))
        step, context = network.extend(
            context,
            trie.codes_of(states).expand(shape),
            trie.parent(states).expand(shape),
            torch.full(shape, depth),
            is_node=torch.ones(shape, dtype=torch.bool),
        )
        found.append(log_probs(step, trie.legal(states.expand(shape))))
    return found


def item_scores(by_level: list[Tensor], trie: Trie) -> Tensor:
    """The log-probability of the leaf of every item: [users, items]."""
    total = torch.zeros(len(by_level[0]), 1)
    for depth, logs in enumerate(by_level, start=1):
        states = torch.arange(*_ends(trie, depth))
        parents = trie.parent(states) - _ends(trie, depth - 1)[0]
        total = total[:, parents] + logs[:, parents, trie.codes_of(states)]
    return total[:, trie.item_leaves.long() - trie.first_leaf]


def print_table(means: dict[str, float]) -> None:
    """Prints the mixtures, and the divergence of each level."""
    print("chosen by".ljust(12) + "".join(metric.rjust(10) for metric in METRICS))
    for name in dict.fromkeys(key.split()[0] for key in means if not key.startswith("div")):
        numbers = "".join(f"{means[f'{name} {metric}']:10.4f}" for metric in METRICS)
        print(name.ljust(12) + numbers)
    for name, value in means.items():
        if name.startswith("divergence"):
            print(f"{name}: {value:.3f} nats")


def parsed() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run whose network writes codes")
    parser.add_argument("--teacher", type=Path, help="a run with an item head; default: the run")
    parser.add_argument("--dataset", type=Path, help="default: the folder dataset beside the run")
    parser.add_argument(
        "--users", type=int, default=480, help="validation users, fixed random ones"
    )
    parser.add_argument("--batch-size", type=int, default=16, help="users that are read at once")
    return parser.parse_args()


if __name__ == "__main__":
    main()
