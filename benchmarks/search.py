"""Times guided searches and value-guided decoding against plain beam searches of equal tokens.

There is one catalog of random semantic IDs, and one network of random weights with all heads that
can guide a search: a process reward model, an item head, a value head. The searches take turns, so
that other work of the machine slows all searches equally. A ratio is the time of a search divided
by the time of its beam in the same turn, as the median over turns. Time is processor time on a CPU
and wall-clock time on a GPU; both are stored. `tree_share` is the share of a search without its
network and heads: legal codes, probabilities, draws, the tree. The last line printed is one JSON
object.

    python benchmarks/search.py
    python benchmarks/search.py --history-form codes --paths-per-round 1 4
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from result_line import add_results_option, finish, now, processor
from sidestep.catalog.trie import Trie
from sidestep.model.config import ProcessRewardConfig, TransformerConfig, ValueHeadConfig
from sidestep.model.heads import HeadedModel
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.search.beam import BeamSearch
from sidestep.search.budget import Budget
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_support import ItemSupport
from sidestep.search.live_item_support import LiveItemSupport
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.process_reward import ProcessReward
from sidestep.search.scorer import Guidance, PrefixScorer, PrefixScores
from sidestep.search.tree import Candidates
from sidestep.search.ved import ValueGuidedDecoding
from sidestep.step import Context, HistoryBatch, StepModel, StepOutput, flops_by_depth
from watch import Watch

BEAM, WIDE = "beam", "beam of equal tokens"


def main() -> None:
    """Runs the benchmark with the sizes of the command line."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    searches = searches_of(arguments)
    measured: dict[str, list[Turn]] = {name: [] for name in searches}
    for turn in range(arguments.warm_up + arguments.repeats):
        for name, search in searches.items():
            taken = timed(search, arguments.device)
            if turn >= arguments.warm_up:
                measured[name].append(taken)
    assert_equal_tokens(measured)
    ratios = {
        name: ratio(taken, measured[WIDE if name.startswith("ved") else BEAM])
        for name, taken in measured.items()
    }
    ved = f"ved m={arguments.paths_per_round[-1]}"
    finish(
        {
            "benchmark": "search",
            "sizes": {key: value for key, value in vars(arguments).items() if key != "results"},
            "prm_vs_beam": ratios["prm-beam"],
            "item_vs_beam": ratios["item-beam"],
            "ved_vs_beam": ratios[ved],
            "ved_paths_per_round": arguments.paths_per_round[-1],
            "tree_share": tree_share(measured[ved]),
            "ratios": ratios,
            "tree_shares": {name: tree_share(taken) for name, taken in measured.items()},
            "tokens": {name: taken[0].tokens for name, taken in measured.items()},
            "calls": {name: taken[0].calls for name, taken in measured.items()},
            "ms_per_user": {
                name: statistics.median(turn.seconds for turn in taken) * 1000 / arguments.batch
                for name, taken in measured.items()
            },
            "processor_s": {
                name: [t.processor_s for t in taken] for name, taken in measured.items()
            },
            "wall_s": {name: [t.wall_s for t in taken] for name, taken in measured.items()},
            "network_s": {name: [t.network_s for t in taken] for name, taken in measured.items()},
            "device": arguments.device
            if arguments.device == "cpu"
            else torch.cuda.get_device_name(arguments.device),
            "machine": processor(),
            "torch": torch.__version__,
            "date": now(),
        },
        arguments.results,
    )


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, what in (
        ("batch", 32, "users searched for together"),
        ("history", 20, "past items per user"),
        ("levels", 4, "codes per item"),
        ("codebook-size", 256, "codes per level"),
        ("items", 100_000, "items of the catalog"),
        ("beams", 50, "K, of the beam and the guided beams"),
        ("candidates", 200, "K+, prefixes that a guided beam scores per level"),
        ("times", 4, "the budget of value-guided decoding, in beams"),
        ("budget-beams", 16, "the width of the beam that defines the budget, and leaves returned"),
        ("warm-width", 8, "the width of the beam that value-guided decoding begins with"),
        ("dim", 128, "width of the network"),
        ("layers", 4, "layers of the network"),
        ("heads", 4, "heads of the network, and of the value head"),
        ("reward-dim", 64, "width of the process reward model"),
        ("threads", 1, "threads of torch"),
        ("warm-up", 1, "number of turns that do not count"),
        ("repeats", 7, "turns that count"),
        ("seed", 0, "seed of weights, catalog and histories"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} [{default}]")
    parser.add_argument(
        "--paths-per-round",
        type=int,
        nargs="+",
        default=[1, 8, 32, 64],
        help="m, of value-guided decoding: all are timed, the last is the result [1 8 32 64]",
    )
    parser.add_argument(
        "--history-form", choices=("items", "codes"), default="items", help="[items]"
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="[the GPU, if there is one]",
    )
    add_results_option(parser)
    return parser.parse_args()


# The searches


def searches_of(arguments: argparse.Namespace) -> dict[str, "Search"]:
    """Makes all searches, by name, over one catalog and one network."""
    torch.manual_seed(arguments.seed)
    sizes = (arguments.codebook_size,) * arguments.levels
    ids = torch.randint(arguments.codebook_size, (arguments.items, arguments.levels))
    trie = Trie.build(ids, sizes)
    network = network_of(arguments, ids, sizes).to(arguments.device)
    value_head = ValueHead(
        ValueHeadConfig(num_heads=arguments.heads), dim=arguments.dim, num_levels=arguments.levels
    )
    valued = HeadedModel(network, value_head.to(arguments.device))
    rewards = ProcessRewardModel(
        ProcessRewardConfig(dim=arguments.reward_dim),
        num_features=trie.num_nodes(),
        memory_dim=arguments.dim,
    ).eval()
    process_reward = ProcessReward(network=rewards.to(arguments.device))
    histories = HistoryBatch(
        items=torch.randint(arguments.items, (arguments.batch, arguments.history)),
        lengths=torch.full((arguments.batch,), arguments.history),
    ).to(arguments.device)
    scope = Scope(trie=trie.to(arguments.device))
    budget = Budget(times=arguments.times, num_beams=arguments.budget_beams)

    def by(policy: SearchPolicy, model: StepModel[Any] = network) -> Search:
        return lambda watch: policy.search(WatchedModel(model, watch), histories, scope)

    def guided(scorer: PrefixScorer, *, from_level: int = 1) -> Search:
        return lambda watch: guided_beam(
            arguments, WatchedScorer(scorer, watch), from_level
        ).search(WatchedModel(network, watch), histories, scope)

    value_guided = ValueGuidedDecoding(
        budget=budget, num_leaves=arguments.budget_beams, warm_width=arguments.warm_width
    )
    return {
        BEAM: by(BeamSearch(num_beams=arguments.beams)),
        "prm-beam": guided(process_reward),
        "item-beam": guided(ItemSupport(head=network)),
        "item-beam from level 2": guided(ItemSupport(head=network), from_level=2),
        "live item-beam from level 2": guided(LiveItemSupport(head=network), from_level=2),
        WIDE: by(BeamSearch(num_beams=budget.times * budget.num_beams)),
        **{
            f"ved m={paths}": by(replace(value_guided, paths_per_round=paths), valued)
            for paths in arguments.paths_per_round
        },
    }


def network_of(arguments: argparse.Namespace, ids: Tensor, sizes: tuple[int, ...]) -> Transformer:
    """Makes a network of random weights, as peaked as a trained network, so that beams differ."""
    network = Transformer(
        TransformerConfig(
            dim=arguments.dim,
            num_layers=arguments.layers,
            num_heads=arguments.heads,
            history=arguments.history_form,
            item_embedding=arguments.history_form == "items",
            item_head=True,
        ),
        ids,
        sizes,
    ).eval()
    with torch.no_grad():
        network.head.weight.mul_(20)
    return network


def guided_beam(
    arguments: argparse.Namespace, scorer: PrefixScorer, from_level: int
) -> GuidedBeamSearch:
    """Makes a beam that a scorer guides from a level on."""
    unguided = from_level - 1
    candidates = (arguments.candidates,) * (arguments.levels - unguided)
    return GuidedBeamSearch(
        guidance=Guidance(scorer=scorer, likelihood_weight=1.0),
        num_beams=arguments.beams,
        candidates=(None,) * unguided + candidates,
    )


# Time


Search = Callable[[Watch], Candidates]


class WatchedModel:
    """A timed model."""

    def __init__(self, model: StepModel[Any], watch: Watch) -> None:
        self.model, self.watch = model, watch
        self.codebook_sizes = model.codebook_sizes
        self.num_actions = model.num_actions

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, Any]:
        """See `StepModel.encode`."""
        answer: tuple[StepOutput, Any] = self.watch.timed(
            lambda: self.model.encode(histories, capacity=capacity)
        )
        return answer

    def flops_by_depth(self, histories: HistoryBatch) -> Tensor | None:
        """See `CountsFlops.flops_by_depth`."""
        return flops_by_depth(self.model, histories)

    def extend(self, *nodes: Any, **options: Any) -> tuple[StepOutput, Any]:
        """See `StepModel.extend`."""
        answer: tuple[StepOutput, Any] = self.watch.timed(
            lambda: self.model.extend(*nodes, **options)
        )
        return answer


class WatchedScorer:
    """A timed prefix scorer."""

    def __init__(self, scorer: PrefixScorer, watch: Watch) -> None:
        self.scorer, self.watch = scorer, watch
        self.name = scorer.name

    def begin(
        self, histories: HistoryBatch, root: StepOutput, context: Context, scope: Scope
    ) -> PrefixScores:
        """See `PrefixScorer.begin`."""
        scores: PrefixScores = self.watch.timed(
            lambda: self.scorer.begin(histories, root, context, scope)
        )

        def watched(states: Tensor, depth: int) -> Tensor:
            answer: Tensor = self.watch.timed(lambda: scores(states, depth))
            return answer

        return watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of one search.

    seconds: the time that is compared: processor time on a CPU, wall-clock time on a GPU.
    network_s: part of these seconds that was spent in the network and its heads.
    tokens: number of tokens per user.
    calls: number of calls of the network and its heads.
    """

    seconds: float
    processor_s: float
    wall_s: float
    network_s: float
    tokens: list[int]
    calls: int


def timed(search: Search, device: str) -> Turn:
    """Runs a search once, and times it."""
    watch = Watch(device)
    start, wall, used = watch.time(), time.perf_counter(), time.process_time()
    candidates = search(watch)
    seconds = watch.time() - start
    return Turn(
        seconds=seconds,
        wall_s=time.perf_counter() - wall,
        processor_s=time.process_time() - used,
        network_s=watch.seconds,
        tokens=candidates.spent.tokens.unique().tolist(),
        calls=watch.calls,
    )


def ratio(taken: list[Turn], beam: list[Turn]) -> float:
    """Time of a search divided by the time of the beam in the same turn, as the median."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(taken, beam, strict=True))


def tree_share(taken: list[Turn]) -> float:
    """Share of a search's time outside of network and heads, as the median over turns."""
    return statistics.median(1 - turn.network_s / turn.seconds for turn in taken)


def assert_equal_tokens(measured: dict[str, list[Turn]]) -> None:
    """Asserts that searches that are compared at equal tokens spent equal tokens."""
    for name, taken in measured.items():
        expected = measured[WIDE if name.startswith("ved") else BEAM][0].tokens
        if name != WIDE:
            assert taken[0].tokens == expected, f"{name} spent {taken[0].tokens}, not {expected}"


if __name__ == "__main__":
    main()
