"""Times rollouts against Hugging Face `generate`, and steps of alignment by their parts.

A rollout is one candidate of a set. A beam search finds a set per user. Both sides have the same
weights, beams and normaliser; a Python dictionary of prefixes constrains Hugging Face's side. Equal
beams and scores are asserted. Then come whole steps of alignment for the same users: the recipe
`grpo-beam`, and `grpo-ved` with the values in the loop, at m paths per round. The parts of a step
are `rollouts`, the search; `rewards`, the rewards of the rollouts and their advantages; and
`update`, the forward with gradients, the forward of the reference policy, and the backward. The
optimizer is left out. All sides take turns, so that other work of the machine slows all sides
equally. Seconds are processor time on a CPU and wall-clock time on a GPU; both are stored. The last
line printed is one JSON object.

    python benchmarks/rl.py
    python benchmarks/rl.py --history-form items --times 4
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from decoding import Decoded, decoded, hf_generate, score_difference
from result_line import add_results_option, finish, now, processor
from sidestep.catalog.leaf_embeddings import LeafEmbeddings
from sidestep.catalog.trie import Trie
from sidestep.data.windows import WindowBatch
from sidestep.model.config import TransformerConfig, ValueHeadConfig
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.runs.recipes import AlignRecipe, align_recipe
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.tree import Candidates
from sidestep.step import HistoryBatch, StepModel
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.objective_config import RewardTerm
from sidestep.training.rewards import Rewards, RewardSources
from watch import Watch

OURS, THEIRS = "ours", "hf"
PARTS = (ROLLOUTS, REWARDS, UPDATE) = ("rollouts", "rewards", "update")


def main() -> None:
    """Runs the benchmark with the sizes of the command line."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    sizes = (arguments.codebook_size,) * arguments.levels
    ids = torch.randint(arguments.codebook_size, (arguments.items, arguments.levels)).unique(dim=0)
    trie = Trie.build(ids, sizes).to(arguments.device)
    policy = network(ids, sizes, arguments)
    batch = a_batch(len(ids), arguments)
    histories = batch.before(*batch.is_target.nonzero(as_tuple=True))
    steps = steps_of(policy, trie, batch, arguments)
    search, scope = BeamSearch(num_beams=arguments.beams), Scope(trie=trie)
    rollouts: dict[str, Side] = {OURS: lambda: search.search(policy, histories, scope)}
    other: Decoded | None = None
    if arguments.history_form == "codes":  # what Hugging Face can read
        other = decoded(policy, histories)
        rollouts[THEIRS] = hf_generate(other, trie, arguments.beams)

    measured = in_turns({**rollouts, **steps}, arguments)
    compared = {name: measured[name] for name in rollouts}
    by_step = {name: measured[name] for name in steps}
    finish(
        {
            "benchmark": "rl",
            "sizes": {key: value for key, value in vars(arguments).items() if key != "results"},
            **comparison(compared, trie, other, arguments.batch * arguments.beams),
            **parts_of_steps(by_step, arguments.batch),
            "seconds": {name: [turn.seconds for turn in taken] for name, taken in measured.items()},
            "wall_s": {name: [turn.wall_s for turn in taken] for name, taken in measured.items()},
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
        ("batch", 32, "users of a step"),
        ("history", 20, "past items per user"),
        ("levels", 4, "codes per item"),
        ("codebook-size", 256, "codes per level"),
        ("items", 10_000, "items of the catalog"),
        ("beams", 16, "candidates per user"),
        ("times", 1, "the budget of value-guided decoding, as a multiple of the beam's"),
        ("warm-width", 8, "the width of the beam that value-guided decoding begins with"),
        ("dim", 128, "width of the network"),
        ("layers", 4, "layers of the network"),
        ("heads", 4, "heads of the network, and of the value head"),
        ("reward-dim", 64, "width of the embeddings that rewards compare"),
        ("threads", 1, "threads of torch"),
        ("warm-up", 1, "number of turns that do not count"),
        ("repeats", 5, "turns that count"),
        ("seed", 0, "seed of weights, catalog, histories and embeddings"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} [{default}]")
    parser.add_argument(
        "--paths-per-round",
        type=int,
        nargs="+",
        default=[1, 8],
        help="m, of value-guided decoding: a step is timed for each [1 8]",
    )
    parser.add_argument(
        "--history-form",
        choices=("codes", "items"),
        default="codes",
        help="history form of the network; with items, Hugging Face's side is left out [codes]",
    )
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="device of all sides [the GPU, if there is one]",
    )
    add_results_option(parser)
    return parser.parse_args()


# The steps that are timed


def network(ids: Tensor, sizes: tuple[int, ...], arguments: argparse.Namespace) -> Transformer:
    """Makes a policy of random weights, as peaked as a trained policy, so that beams differ."""
    config = TransformerConfig(
        dim=arguments.dim,
        num_layers=arguments.layers,
        num_heads=arguments.heads,
        history=arguments.history_form,
        item_embedding=arguments.history_form == "items",
        dropout=0.0,
    )
    policy = Transformer(config, ids, sizes).eval()
    with torch.no_grad():
        policy.head.weight.mul_(20)
    return policy.to(arguments.device)


def a_batch(num_items: int, arguments: argparse.Namespace) -> WindowBatch:
    """Makes one full window per user, with its last item as the target."""
    items = torch.randint(num_items, (arguments.batch, arguments.history + 1))
    is_target = torch.zeros_like(items, dtype=torch.bool)
    is_target[:, -1] = True
    return WindowBatch(
        items=items,
        lengths=torch.full((arguments.batch,), arguments.history + 1),
        is_target=is_target,
        num_targets=arguments.batch,
    ).to(arguments.device)


def steps_of(
    policy: Transformer, trie: Trie, batch: WindowBatch, arguments: argparse.Namespace
) -> dict[str, "Side"]:
    """Makes a step with rollouts by beam, and one for each m of value-guided decoding."""
    embeddings = LeafEmbeddings.of(
        torch.randn(trie.num_items, arguments.reward_dim), Scope(trie=trie)
    )
    # Rollouts hardly ever find a random target. By the cosine, rewards differ all the same.
    terms = (RewardTerm(reward="rank-aware"), RewardTerm(reward="semantic"))
    rewards = Rewards(terms, RewardSources(embeddings=embeddings))
    head = ValueHead(
        ValueHeadConfig(num_heads=arguments.heads), dim=arguments.dim, num_levels=arguments.levels
    ).to(arguments.device)
    beam = {"search": "beam", "num_beams": arguments.beams}
    by_beam = align_objective("grpo-beam", rollouts=beam, rewards=terms)
    space = Scope(trie=trie)
    steps = {"grpo-beam": AlignmentObjective(policy, space, rewards, by_beam)}
    for paths in arguments.paths_per_round:
        ved = {
            "search": "ved",
            "budget": {"times": arguments.times, "num_beams": arguments.beams},
            "num_leaves": arguments.beams,
            "warm_width": arguments.warm_width,
            "paths_per_round": paths,
        }
        by_values = align_objective("grpo-ved", rollouts=ved, rewards=terms)
        steps[f"grpo-ved m={paths}"] = AlignmentObjective(
            policy, space, rewards, by_values, head=head, embeddings=embeddings
        )
    return {
        name: WatchedStep(objective, batch, arguments.device) for name, objective in steps.items()
    }


def align_objective(recipe: AlignRecipe, **changes: Any) -> AlignmentConfig:
    """Configuration of the objective of a recipe, with some settings changed."""
    return AlignmentConfig.model_validate({**align_recipe(recipe)["objective"], **changes})


@dataclass(kw_only=True)
class WatchedSearch:
    """A timed search. Its random draws are the same at every step."""

    search_policy: SearchPolicy
    watch: Watch

    @property
    def name(self) -> str:
        """See `SearchPolicy.name`."""
        return self.search_policy.name

    def search(self, model: StepModel[Any], histories: HistoryBatch, scope: Scope) -> Candidates:
        """See `SearchPolicy.search`."""
        return self.watch.timed(lambda: self.search_policy.search(model, histories, scope))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Cost of a step.

    parts_s: seconds by part.
    tokens: tokens of the rollouts, per user.
    """

    parts_s: Mapping[str, float]
    tokens: list[int]


class WatchedStep:
    """A step of alignment whose parts are timed: loss and gradients, without the optimizer."""

    def __init__(self, objective: AlignmentObjective, batch: WindowBatch, device: str) -> None:
        """Replaces the search of `objective` by a timed one."""
        self.objective, self.batch, self.device = objective, batch, device
        rollouts = objective.rollouts
        self.search = WatchedSearch(search_policy=rollouts.search, watch=Watch(device))
        objective.rollouts = replace(rollouts, search=self.search)
        self.expected = float(objective(batch).loss.detach())

    def __call__(self) -> Step:
        """Takes the step part by part, and asserts that the parts make up the step of training."""
        objective = self.objective
        found, judged, updated = Watch(self.device), Watch(self.device), Watch(self.device)
        self.search.watch = found
        histories, futures = objective.prompts(self.batch)
        group = judged.timed(lambda: objective.rolled_out(histories, futures))
        reading = updated.timed(lambda: objective.read(group, histories))
        credit = judged.timed(lambda: objective.credit(group, reading))
        assert bool(group.learns.all()), "all rewards are equal: there is nothing to learn from"

        def update() -> Tensor:
            loss, _ = objective.loss(group, credit, reading, histories, futures[:, 0])
            loss.backward()
            return loss.detach()

        loss = updated.timed(update)
        objective.zero_grad(set_to_none=True)
        torch.testing.assert_close(float(loss), self.expected, rtol=1e-4, atol=1e-5)
        parts = (found.seconds, judged.seconds - found.seconds, updated.seconds)
        return Step(
            parts_s=dict(zip(PARTS, parts, strict=True)), tokens=group.tokens.unique().tolist()
        )


# Time

Side = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of one side.

    seconds: the time that is compared: processor time on a CPU, wall-clock time on a GPU.
    answer: result of the run.
    """

    seconds: float
    wall_s: float
    answer: Any


def in_turns(sides: Mapping[str, Side], arguments: argparse.Namespace) -> dict[str, list[Turn]]:
    """Runs the sides in turns. Returns the turns of each side that count."""
    measured: dict[str, list[Turn]] = {name: [] for name in sides}
    for turn in range(arguments.warm_up + arguments.repeats):
        for name, side in sides.items():
            watch, wall = Watch(arguments.device), time.perf_counter()
            answer = watch.timed(side)
            taken = Turn(seconds=watch.seconds, wall_s=time.perf_counter() - wall, answer=answer)
            if turn >= arguments.warm_up:
                measured[name].append(taken)
    return measured


def comparison(
    compared: Mapping[str, Sequence[Turn]], trie: Trie, other: Decoded | None, num_rollouts: int
) -> dict[str, Any]:
    """Compares our rollouts with those of the other side, if there is one."""
    result: dict[str, Any] = {
        "rollouts_vs_hf": None,
        "max_score_difference": None,
        "rollouts_per_s": {
            name: num_rollouts / statistics.median(turn.seconds for turn in taken)
            for name, taken in compared.items()
        },
    }
    if other is not None:
        ours, theirs = compared[OURS], compared[THEIRS]
        result["rollouts_vs_hf"] = statistics.median(
            slow.seconds / fast.seconds for slow, fast in zip(theirs, ours, strict=True)
        )
        result["max_score_difference"] = score_difference(
            ours[-1].answer, theirs[-1].answer, trie, other.code_tokens
        )
    return result


def parts_of_steps(by_step: Mapping[str, Sequence[Turn]], num_users: int) -> dict[str, Any]:
    """Users per second and shares of time, by step and part."""
    parts_s = {
        name: {part: [turn.answer.parts_s[part] for turn in taken] for part in PARTS}
        for name, taken in by_step.items()
    }
    totals = {
        name: [sum(turn) for turn in zip(*parts.values(), strict=True)]
        for name, parts in parts_s.items()
    }
    return {
        "users_per_s": {
            name: {
                part: num_users / statistics.median(seconds)
                for part, seconds in {**parts, "step": totals[name]}.items()
            }
            for name, parts in parts_s.items()
        },
        "shares": {
            name: {
                part: statistics.median(a / b for a, b in zip(seconds, totals[name], strict=True))
                for part, seconds in parts.items()
            }
            for name, parts in parts_s.items()
        },
        "tokens": {name: taken[0].answer.tokens for name, taken in by_step.items()},
        "parts_s": parts_s,
    }


if __name__ == "__main__":
    main()
