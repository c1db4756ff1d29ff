"""Counts the Python calls of a recommendation and of a value-guided search.

A call counts if its function stands in a file of the package; a generator counts once for each
time it goes on. Calls of torch and numpy do not count. The numbers do not depend on the machine.
The network has random weights. Each call is counted after a warm-up. The last line printed is one
JSON object.

    python benchmarks/calls.py
    python benchmarks/calls.py --top 30
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sidestep
from result_line import add_results_option, finish, now
from sidestep.catalog.trie import Trie
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.recommender import GenerativeRecommender
from sidestep.search.beam import BeamSearch
from sidestep.search.budget import Budget
from sidestep.search.policy import Scope
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import HistoryBatch

_PACKAGE = str(Path(sidestep.__file__).parent) + "/"


def main() -> None:
    """Counts with the sizes of the command line."""
    arguments = parsed()
    counted = {name: calls_of(call) for name, call in calls(arguments).items()}
    for name, functions in counted.items():
        for function, number in functions.most_common(arguments.top):
            print(f"{name:>24} {number:6} {function}")
    finish(
        {
            "benchmark": "calls",
            "sizes": {k: v for k, v in vars(arguments).items() if k not in ("results", "top")},
            **{name: summary(functions) for name, functions in counted.items()},
            "torch": torch.__version__,
            "date": now(),
        },
        arguments.results,
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, what in (
        ("batch", 32, "users searched for together"),
        ("history", 20, "past items per user"),
        ("levels", 3, "codes per item"),
        ("codebook-size", 64, "codes per level"),
        ("items", 2_000, "items of the catalog"),
        ("beams", 50, "beams of the recommendation"),
        ("budget-beams", 16, "the budget of value-guided decoding, as the width of a beam"),
        ("dim", 32, "width of the network"),
        ("layers", 2, "layers of the network"),
        ("heads", 2, "heads of the network, and of the value head"),
        ("seed", 0, "seed of weights, catalog and histories"),
        ("top", 0, "functions printed of each, most called first"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} [{default}]")
    parser.add_argument(
        "--paths-per-round", type=int, nargs="+", default=[1, 8], help="m, of VED [1 8]"
    )
    add_results_option(parser)
    return parser.parse_args()


def calls(arguments: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Counted calls by name."""
    torch.manual_seed(arguments.seed)
    sizes = (arguments.codebook_size,) * arguments.levels
    ids = torch.randint(arguments.codebook_size, (arguments.items, arguments.levels))
    shape = TransformerConfig(
        dim=arguments.dim, num_layers=arguments.layers, num_heads=arguments.heads
    )
    network = Transformer(shape, ids, sizes).eval()
    head = ValueHead(
        ValueHeadConfig(num_heads=arguments.heads), dim=arguments.dim, num_levels=arguments.levels
    )
    valued, trie = HeadedModel(network, head), Trie.build(ids, sizes)
    histories = HistoryBatch(
        items=torch.randint(arguments.items, (arguments.batch, arguments.history)),
        lengths=torch.full((arguments.batch,), arguments.history),
    )
    recommender = GenerativeRecommender(
        network, Scope(trie=trie), BeamSearch(num_beams=arguments.beams), max_history=None
    )

    def grown(paths_per_round: int) -> Callable[[], Any]:
        search = ValueGuidedDecoding(
            budget=Budget(num_beams=arguments.budget_beams), paths_per_round=paths_per_round
        )
        return lambda: search.search(valued, histories, Scope(trie=trie))

    return {
        "recommend": lambda: recommender.recommend(histories, 10),
        "recommend, unseen": lambda: recommender.recommend(histories, 10, exclude_seen=True),
        **{f"ved m={paths}": grown(paths) for paths in arguments.paths_per_round},
    }


def calls_of(call: Callable[[], Any]) -> Counter[str]:
    """Counts how often a call, made for the second time, calls each function of the package."""
    counted: Counter[str] = Counter()

    def note(frame: Any, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_PACKAGE):
            counted[f"{code.co_filename.removeprefix(_PACKAGE)}:{code.co_qualname}"] += 1

    call()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counted


def summary(functions: Counter[str]) -> dict[str, int]:
    """Calls in all, those of networks among them, and the files that the functions stand in."""
    return {
        "calls": functions.total(),
        "of_networks": sum(n for name, n in functions.items() if name.startswith("model/")),
        "files": len({name.split(":")[0] for name in functions}),
    }


if __name__ == "__main__":
    main()
