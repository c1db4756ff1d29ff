"""Measures ways to find the best items of an item head in catalogs of 10^5 to 10^7 items.

The methods:

- `head` scores every item. `item-index` is the search of that name.
- `hnsw` and `ivf-pq` are indexes of faiss (`pip install "sidestep[benchmarks]"`). `ivf-pq` has 64
  codes of 4 bits, and refines its list by the vectors. `ivf-pq` compares by products; `ivf-pq-l2`
  compares by distances, in a wider space in which distances give the order of the products.
- `live-item-beam` and `beam` are searches over four codes of 256 by an untrained network. These
  rows tell the time of a search, and not what the search finds.

Vectors, and the queries of the users, come from a generated mixture of topics. 1,000 queries tune,
and 1,000 others are reported. All methods answer with 50 items.

    python benchmarks/index.py --results benchmarks/results/index.jsonl
    python benchmarks/index.py --items 1e5 --methods head item-index
    python benchmarks/index.py --items 1e7 --methods head item-index ivf-pq --half

Times are processor seconds of one thread, since the machine may have other work. All methods take
turns, in batches of 1 and of 32 users, and a row has the medians. Methods that a results file has
already are not measured again at the same number of items, unless `--again`.
"""

import argparse
import dataclasses
import json
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from result_line import add_results_option, finish, now, processor
from sidestep.catalog.trie import Trie
from sidestep.model.config import TransformerConfig
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.item_index import ItemIndex
from sidestep.search.item_pages import ItemPages
from sidestep.search.live_item_support import LiveItemSupport
from sidestep.search.policy import Scope, SearchPolicy
from sidestep.search.scorer import Guidance
from sidestep.step import HistoryBatch, StepOutput

DIM, K, NUM_QUERIES, BATCHES = 128, 50, 1000, (1, 32)
TUNING, REPORTED = 0, 1
METHODS = ["head", "item-index", "hnsw", "ivf-pq", "ivf-pq-l2", "live-item-beam", "beam"]
UNTRAINED = {"live-item-beam", "beam"}
CODEBOOK_SIZES = (256, 256, 256, 256)

Built = tuple[dict[str, "Answer"], int, float]
"""The answers by setting, the bytes of what is kept, and the processor seconds of the making."""

Answer = Callable[[np.ndarray], np.ndarray]
"""The 50 items of each of some queries."""


def main() -> None:
    """Measures one size after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", nargs="+", type=_count, default=[10**5, 10**6])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every setting per batch")
    parser.add_argument("--page-size", type=int, help="items of a page of item-index")
    parser.add_argument("--half", action="store_true", help="vectors of 16 bits")
    parser.add_argument("--again", action="store_true", help="measure what there is already")
    parser.add_argument("--cache", type=Path, help="a folder that keeps what takes long to make")
    parser.add_argument("--note", help="note on other work of the machine")
    add_results_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for num_items in arguments.items:
        methods = [
            method
            for method in arguments.methods
            if arguments.again or not _is_done(arguments, num_items, method)
        ]
        if methods:
            for row in measured(num_items, methods, arguments):
                finish(row, arguments.results)


def _count(text: str) -> int:
    return int(float(text))


def _is_done(arguments: argparse.Namespace, num_items: int, method: str) -> bool:
    if arguments.results is None or not arguments.results.exists():
        return False
    rows = map(json.loads, arguments.results.read_text(encoding="utf-8").splitlines())
    return any(row["items"] == num_items and row["method"] == method for row in rows)


def measured(
    num_items: int, methods: list[str], arguments: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """The rows of one size, one per setting of a method."""
    _tell(f"{num_items} items: vectors")
    vectors, queries, right = made_shop(num_items, arguments)
    settings: dict[tuple[str, str], Answer] = {}
    built: dict[str, dict[str, Any]] = {}
    for method in methods:
        _tell(f"{num_items} items: building {method}")
        try:
            answers, size, seconds_to_build = BUILDERS[method](vectors, arguments)
        except (ImportError, MemoryError) as error:
            yield _row(num_items, method, arguments) | {
                "error": f"{type(error).__name__}: {error}"[:200]
            }
            continue
        built[method] = {
            "build_s": seconds_to_build,
            "bytes_per_item": size / num_items,
            "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        }
        settings |= {(method, setting): answer for setting, answer in answers.items()}
    seconds = timed(settings, queries[REPORTED], arguments.rounds)
    for (method, setting), answer in settings.items():
        row = _row(num_items, method, arguments) | {"setting": setting, **built[method]}
        if method not in UNTRAINED:
            for name, part in (("tuning_", TUNING), ("", REPORTED)):
                found = np.concatenate([answer(some) for some in np.split(queries[part], 50)])
                row |= recalls(found, right[part], name)
        for batch in BATCHES:
            own = seconds[method, setting, batch]
            row[f"ms_per_user_batch_{batch}"] = 1e3 * statistics.median(own) / batch
        yield row


def _row(num_items: int, method: str, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "benchmark": "index",
        "items": num_items,
        "method": method,
        "dim": DIM,
        "k": K,
        "bits": 16 if arguments.half else 32,
        "rounds": arguments.rounds,
        "threads": 1,
        "processor": processor(),
        "torch": torch.__version__,
        "time": now(),
        "note": arguments.note,
    }


def _tell(text: str) -> None:
    print(f"{now()} {text}", file=sys.stderr, flush=True)


def timed(
    settings: dict[tuple[str, str], Answer], queries: np.ndarray, rounds: int
) -> dict[tuple[str, str, int], list[float]]:
    """Processor seconds of batches, after one that does not count; the settings take turns."""
    seconds: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for batch in BATCHES:
        per_round = 8 if batch == 1 else 2
        for turn in range(rounds):
            _tell(f"batch {batch}: round {turn + 1} of {rounds}")
            for key, answer in settings.items():
                for number in range(per_round + 1):
                    first = (turn * (per_round + 1) + number) * batch % (NUM_QUERIES - batch)
                    start = time.process_time()
                    answer(queries[first : first + batch])
                    if number:  # the first call finds the data of another method in the caches
                        seconds[*key, batch].append(time.process_time() - start)
    return seconds


def recalls(found: np.ndarray, right: np.ndarray, name: str) -> dict[str, float]:
    """The shares of the head's first 10 and 50 among the first 10 and 50."""
    return {
        f"{name}recall_{k}": statistics.fmean(
            len({*own[:k]} & {*best[:k]}) / k for own, best in zip(found, right, strict=True)
        )
        for k in (10, 50)
    }


def made_shop(
    num_items: int, arguments: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, two sets of queries, and the right answers to both."""

    def make() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shop = Shop(num_items)
        vectors = shop.vectors(np.float16 if arguments.half else np.float32)
        sets = [shop.queries(vectors, NUM_QUERIES, seed=each) for each in (TUNING, REPORTED)]
        right = np.stack([best_by_head(queries, vectors) for queries in sets])
        return vectors, np.stack(sets), right

    names = [f"{kind}{num_items}.npy" for kind in "XQG"]
    if arguments.cache is None or not all((arguments.cache / name).exists() for name in names):
        made = make()
        if arguments.cache is not None:
            for name, array in zip(names, made, strict=True):
                np.save(arguments.cache / name, array)
        return made
    vectors, queries, right = (np.load(arguments.cache / name) for name in names)
    return vectors, queries, right


class Shop:
    """A mixture of topics and subtopics, whose sizes follow a power law; norms differ a little."""

    def __init__(self, num_items: int) -> None:
        """Draws the centres of the subtopics and the subtopic of each item."""
        generator = np.random.default_rng(0)
        topics = round(num_items ** (1 / 3))
        subtopics = max(8, int(num_items / 1000 / topics * 4))
        turned = np.linalg.qr(generator.standard_normal((2, DIM, DIM))[0])[0].astype(np.float32)
        self.noise, of_topics, of_subtopics = (
            turned * _widths(decay)[:, None] for decay in (0.6, 1.0, 0.8)
        )

        def drawn(number: int, basis: np.ndarray) -> np.ndarray:
            return generator.standard_normal((number, DIM)).astype(np.float32) @ basis

        centres = np.float32(np.sqrt(0.3)) * np.repeat(drawn(topics, of_topics), subtopics, 0)
        self.centres = centres + np.float32(np.sqrt(0.35)) * drawn(topics * subtopics, of_subtopics)
        sizes = [_power_law(generator, topics)]
        sizes += [_power_law(generator, subtopics) for _ in range(topics)]
        weights = np.repeat(sizes[0], subtopics) * np.concatenate(sizes[1:])
        drawn_items = generator.choice(len(weights), num_items, p=weights / weights.sum())
        self.subtopics = np.sort(drawn_items).astype(np.int32)[generator.permutation(num_items)]

    def vectors(self, dtype: type) -> np.ndarray:
        """The vectors of all items."""
        generator = np.random.default_rng(1)
        vectors = np.empty((len(self.subtopics), DIM), dtype=dtype)
        for start in range(0, len(vectors), 100_000):
            own = self.subtopics[start : start + 100_000]
            beside = generator.standard_normal((len(own), DIM), dtype=np.float32) @ self.noise
            part = self.centres[own] + np.float32(np.sqrt(0.35)) * beside
            norms = np.exp(0.15 * generator.standard_normal(len(own), dtype=np.float32))
            vectors[start : start + 100_000] = part * norms[:, None]
        return vectors

    def queries(self, vectors: np.ndarray, number: int, *, seed: int) -> np.ndarray:
        """States of users: a mixture of items of up to three subtopics, plus noise; of length 8."""
        generator = np.random.default_rng(100 + seed)
        order = np.argsort(self.subtopics, kind="stable")
        starts = np.searchsorted(self.subtopics[order], np.arange(len(self.centres) + 1))
        queries = np.empty((number, DIM), dtype=np.float32)
        for user in range(number):
            items: list[int] = []
            for item in generator.integers(0, len(order), size=generator.integers(1, 4)):
                first, last = starts[self.subtopics[item] + np.arange(2)]
                taken = generator.integers(first, last, size=generator.integers(1, 5))
                items += order[taken].tolist()
            weights = generator.dirichlet(np.ones(len(items))).astype(np.float32)
            state = weights @ vectors[items].astype(np.float32)
            state = state / np.linalg.norm(state)
            beside = generator.standard_normal(DIM, dtype=np.float32) @ self.noise
            state = state + np.float32(0.4) * beside
            queries[user] = 8 * state / np.linalg.norm(state)
        return queries


def _widths(decay: float) -> np.ndarray:
    """Standard deviations of a spectrum that falls like a power, of one in all."""
    spectrum = (np.arange(1, DIM + 1) ** -decay).astype(np.float32)
    return np.sqrt(spectrum / spectrum.sum())


def _power_law(generator: np.random.Generator, number: int) -> np.ndarray:
    weights: np.ndarray = (generator.permutation(number) + 3.0) ** -0.8
    return weights / weights.sum()


def best_by_head(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The 50 items of the largest products with each query, exactly, best first."""
    scores = np.full((len(queries), K), -np.inf, dtype=np.float32)
    items = np.zeros((len(queries), K), dtype=np.int64)
    for start in range(0, len(vectors), 50_000):
        products = queries @ vectors[start : start + 50_000].astype(np.float32).T
        new = np.argpartition(products, -K, axis=1)[:, -K:]
        scores = np.concatenate([scores, np.take_along_axis(products, new, 1)], axis=1)
        items = np.concatenate([items, new + start], axis=1)
        order = np.argsort(-scores, axis=1)[:, :K]
        scores, items = (np.take_along_axis(each, order, 1) for each in (scores, items))
    return items


class RowHead:
    """An item head without a network: one row per item."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def item_rows(self, items: torch.Tensor | None = None) -> torch.Tensor:
        """See `IndexableHead`."""
        return self.rows if items is None else self.rows[items]

    def item_logits(self, states: torch.Tensor, histories: HistoryBatch) -> torch.Tensor:
        """See `HasItemHead`; in parts where rows have 16 bits."""
        if self.rows.dtype == torch.float32:
            return states @ self.rows.T
        parts = self.rows.split(100_000)
        return torch.cat([states @ part.float().T for part in parts], dim=1)

    def scores_of_lists(
        self, states: torch.Tensor, items: torch.Tensor, held: torch.Tensor
    ) -> torch.Tensor:
        """See `IndexableHead`."""
        rows = functional.embedding(items.clamp(min=0), self.rows)
        return torch.bmm(rows.to(states.dtype), states[:, :, None])[..., 0]


class StateModel:
    """A model whose state is the query, so that its network takes no time."""

    num_actions = 256
    state = torch.empty(0)

    def encode(self, histories: HistoryBatch, *, capacity: int) -> tuple[StepOutput, None]:
        """See `StepModel`."""
        state = self.state[:, None]
        return StepOutput(logits=state, hidden=state), None


def random_trie(num_items: int) -> tuple[np.ndarray, Trie]:
    """Random codes, and their trie."""
    codes = np.random.default_rng(1).integers(0, 256, (num_items, 4), dtype=np.int32)
    return codes, Trie.build(codes, CODEBOOK_SIZES)


def histories_of(number: int, num_items: int) -> HistoryBatch:
    """Histories of 20 items."""
    items = torch.from_numpy(np.random.default_rng(number).integers(0, num_items, (number, 20)))
    return HistoryBatch(items=items, lengths=torch.full((number,), 20))


def by_search(search: SearchPolicy, model: Any, scope: Scope) -> Answer:
    """The answers of a search: the items of its leaves, which have one each."""
    histories_for = cache(lambda number: histories_of(number, scope.num_items))

    def answer(queries: np.ndarray) -> np.ndarray:
        if isinstance(model, StateModel):
            model.state = torch.from_numpy(queries)
        found = search.search(model, histories_for(len(queries)), scope)
        return scope.items(found.leaves)[..., 0].numpy()

    return answer


def head(vectors: np.ndarray, _: argparse.Namespace) -> Built:
    """Every item by the head."""
    rows = torch.from_numpy(vectors)
    scores_of = RowHead(rows).item_logits

    def answer(queries: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            scores = scores_of(torch.from_numpy(queries), histories_of(len(queries), 1))
            return scores.topk(K, dim=1).indices.numpy()

    return {"all": answer}, rows.nbytes, 0.0


def item_index(vectors: np.ndarray, arguments: argparse.Namespace) -> Built:
    """The search `item-index`, for several numbers of pages."""
    ids = np.arange(len(vectors))
    sides = (256, 256, 256)
    codes = np.stack([ids // 65536, ids // 256 % 256, ids % 256], axis=1)
    scope, rows = Scope(trie=Trie.build(codes, sides)), torch.from_numpy(vectors)
    first = ItemIndex(head=RowHead(rows), page_size=arguments.page_size, num_leaves=K)
    kept, start = _kept(f"groups{len(vectors)}", arguments), time.process_time()
    if kept is not None and kept.exists():
        layout = ItemPages.of_groups(rows, np.load(kept)["groups"])
        first.__dict__["layout"] = layout
        seconds = float(np.load(kept)["seconds"])
    else:
        layout = first.layout
        seconds = time.process_time() - start
        if kept is not None:
            np.savez(kept, groups=layout.page_of.numpy(), seconds=seconds)
    answers = {}
    for pages in (16, 24, 32, 40, 48, 64, 96, 128):
        search = dataclasses.replace(first, pages=pages)
        search.take_over(first)
        answers[f"pages={pages}"] = by_search(search, StateModel(), scope)
    return answers, layout.memory_bytes + rows.nbytes, seconds


def _faiss(
    key: str,
    vectors: np.ndarray,
    parameters: list[str],
    arguments: argparse.Namespace,
    *,
    by_distance: bool = False,
) -> Built:
    """An index of faiss, for several values of its parameters."""
    import faiss

    faiss.omp_set_num_threads(1)
    width = DIM + 4 if by_distance else DIM
    longest = max(np.square(part.astype(np.float32)).sum(axis=1).max() for part in _parts(vectors))

    def widened(part: np.ndarray) -> np.ndarray:
        """The vectors with a number that makes all equally long: distances order as products."""
        part = part.astype(np.float32)
        if not by_distance:
            return part
        wide = np.zeros((len(part), width), dtype=np.float32)
        wide[:, :DIM] = part
        wide[:, DIM] = np.sqrt(np.maximum(longest - np.square(part).sum(axis=1), 0))
        return wide

    metric = faiss.METRIC_L2 if by_distance else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(width, key, metric)
    kept, start = _kept(f"{key.replace(',', '-')}-{len(vectors)}", arguments), time.process_time()
    if kept is not None and kept.exists():
        index = faiss.read_index(str(kept))
        seconds = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
    else:
        if "HNSW" in key:
            index.hnsw.efConstruction = 100
        else:
            number = min(len(vectors), 200_000)
            sample = np.random.default_rng(0).choice(len(vectors), number, replace=False)
            index.train(widened(vectors[sample]))
        for part in _parts(vectors):
            index.add(widened(part))
        seconds = time.process_time() - start
        if kept is not None:
            faiss.write_index(index, str(kept))
            kept.with_suffix(".json").write_text(json.dumps(seconds), encoding="utf-8")
    space, answers = faiss.ParameterSpace(), {}
    for parameter in parameters:

        def answer(queries: np.ndarray, parameter: str = parameter) -> np.ndarray:
            space.set_index_parameters(index, parameter)
            wide = np.zeros((len(queries), width), dtype=np.float32)
            wide[:, :DIM] = queries
            found: np.ndarray = index.search(wide, K)[1]
            return found

        answers[parameter] = answer
    return answers, _bytes(index), seconds


def _kept(name: str, arguments: argparse.Namespace) -> Path | None:
    """The file that keeps what was made; None without a folder for it."""
    ending = ".npz" if name.startswith("groups") else ".faiss"
    return None if arguments.cache is None else arguments.cache / f"{name}{ending}"


def _bytes(index: Any) -> int:
    """The size of an index of faiss, from a writer that keeps nothing."""
    import faiss

    written = 0

    def count(part: bytes) -> int:
        nonlocal written
        written += len(part)
        return len(part)

    faiss.write_index(index, faiss.PyCallbackIOWriter(count))
    return written


def _parts(vectors: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), 500_000):
        yield vectors[start : start + 500_000]


def hnsw(vectors: np.ndarray, arguments: argparse.Namespace) -> Built:
    """HNSW with 32 links."""
    efs = (32, 64, 96, 128, 192, 256, 384)
    return _faiss("HNSW32,Flat", vectors, [f"efSearch={ef}" for ef in efs], arguments)


def _ivf_parameters() -> list[str]:
    return [
        f"nprobe={probes},k_factor_rf={factor}"
        for probes in (16, 32, 64, 96, 128, 192)
        for factor in (4, 8, 12)
    ]


def _num_lists(num_items: int) -> int:
    return 2 ** round(np.log2(4 * np.sqrt(num_items)))


def ivf_pq(vectors: np.ndarray, arguments: argparse.Namespace) -> Built:
    """Inverted lists of product codes."""
    refined = "Refine(SQfp16)" if arguments.half else "RFlat"
    key = f"IVF{_num_lists(len(vectors))},PQ64x4fs,{refined}"
    return _faiss(key, vectors, _ivf_parameters(), arguments)


def ivf_pq_l2(vectors: np.ndarray, arguments: argparse.Namespace) -> Built:
    """Inverted lists of product codes, made by distances."""
    key = f"IVF{_num_lists(len(vectors))},PQ66x4fs,RFlat"
    return _faiss(key, vectors, _ivf_parameters(), arguments, by_distance=True)


def _network(codes: np.ndarray, *, has_head: bool) -> Transformer:
    torch.manual_seed(0)
    shape = TransformerConfig(history="items", item_head=has_head)
    network = Transformer(shape, torch.from_numpy(codes), CODEBOOK_SIZES).eval()
    return network.requires_grad_(False)


def _weights(network: Transformer) -> int:
    return sum(each.nbytes for each in network.parameters())


def live_item_beam(vectors: np.ndarray, _: argparse.Namespace) -> Built:
    """A beam guided by the support of live items; likelihood alone chooses the first codes."""
    codes, trie = random_trie(len(vectors))
    network = _network(codes, has_head=True)
    guidance = Guidance(scorer=LiveItemSupport(head=network), likelihood_weight=0.5)
    search = GuidedBeamSearch(guidance=guidance, num_beams=50, candidates=(None, 200, 200, 200))
    answer = by_search(search, network, Scope(trie=trie))
    return {"beams=50,candidates=none+200": answer}, trie.memory_bytes + _weights(network), 0.0


def beam(vectors: np.ndarray, _: argparse.Namespace) -> Built:
    """A plain beam."""
    codes, trie = random_trie(len(vectors))
    network = _network(codes, has_head=False)
    answer = by_search(BeamSearch(num_beams=50), network, Scope(trie=trie))
    return {"beams=50": answer}, trie.memory_bytes + _weights(network) + codes.nbytes, 0.0


BUILDERS = {
    "head": head,
    "item-index": item_index,
    "hnsw": hnsw,
    "ivf-pq": ivf_pq,
    "ivf-pq-l2": ivf_pq_l2,
    "live-item-beam": live_item_beam,
    "beam": beam,
}

if __name__ == "__main__":
    main()
