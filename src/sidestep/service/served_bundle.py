"""The bundle that answers now. A reload replaces the bundle; a rollback brings back the one before.

Nothing of a bundle changes while it answers. Another bundle, or other unavailable items, make
another snapshot, which takes the place of the old one whole. `CurrentSnapshot` does the same for
one process; here the state that several processes share decides.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread

import numpy as np

from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.requests import Request
from sidestep.bundle.snapshot import Snapshot
from sidestep.bundle.users import histories_of
from sidestep.precision import Precision
from sidestep.service.asking import NUM_RUNGS
from sidestep.service.questions import Answer, Answering, Question
from sidestep.service.state import Mark, SharedState, State

_LOG = logging.getLogger("sidestep.service")

_NUM_CANARIES = 64
"""Histories that a new bundle answers before it takes the place of the old one."""

_K = 10
"""Length of the lists of canaries and of the warm-up."""

_LONGEST_NAME = 255
"""Bytes of the name of a folder."""

_WATCH_EVERY_S = 0.2
"""Seconds between two looks at the reloads of other processes."""

_TRIES = 10
"""Attempts to answer a batch, if the state changes during each of them."""


class RefusedBundleError(ValueError):
    """A bundle that must not take the place of the one that answers."""


class UnsteadyError(RuntimeError):
    """The available items changed again and again while a list was made."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loaded:
    """A bundle that can answer.

    path: of the bundle.
    generation: of the state that named the bundle.
    whole: the snapshot with all items of the bundle.
    unavailable: IDs of the items that lists do not hold.
    answering: the snapshot without the unavailable items.
    mark: of the state from which the unavailable items were taken, see `SharedState.mark`. It
        stands beside them, so that nobody can see the one without the other.
    """

    path: Path
    generation: int
    whole: Snapshot
    unavailable: frozenset[str]
    answering: Answering
    mark: Mark | None = None

    @staticmethod
    def of(path: Path, whole: Snapshot, unavailable: frozenset[str]) -> _Loaded:
        """A bundle without its unavailable items; no state has named the bundle yet."""
        return _Loaded(
            path=path,
            generation=0,
            whole=whole,
            unavailable=unavailable,
            answering=Answering(whole.without(unavailable) if unavailable else whole),
        )

    def without(self, unavailable: frozenset[str]) -> _Loaded:
        """A copy with other unavailable items."""
        if unavailable == self.unavailable:
            return self
        made = _Loaded.of(self.path, self.whole, unavailable)
        return replace(made, generation=self.generation)


class ServedBundle:
    """The bundle that answers; other processes may change the state that it follows."""

    def __init__(
        self,
        bundle: Path,
        state: SharedState,
        *,
        device: str | None = None,
        precision: Precision = "fp32",
        max_batch: int = 32,
        report: Callable[[int], None] = lambda generation: None,
    ) -> None:
        """Loads the bundle of the state, and answers a few requests to be fast from the first one.

        Args:
            bundle: reloads may name folders beside it.
            state: of the service.
            device: of the network.
            precision: of the layers of the network in searches.
            max_batch: users of the largest batch that will be answered.
            report: is given the generation of every bundle that begins to answer.

        Raises:
            FileNotFoundError, ValueError: see `load`; or the canaries fail.
        """
        self._root = bundle.absolute().parent
        self._state = state
        self._device = device
        self._precision = precision
        self._max_batch = max_batch
        self._report = report
        self._reloading, self._swapping = Lock(), Lock()
        found = state.read()
        new = self._load(found.bundle, found.unavailable)
        self._install(new, found.generation)
        self._closed = Event()
        self._watcher = Thread(target=self._watch, name="sidestep-watcher", daemon=True)

    def start_watching(self) -> None:
        """Follows reloads of other processes, in a thread."""
        self._watcher.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    @property
    def answering(self) -> Answering:
        """The snapshot that answers now, without the items that are unavailable now."""
        return self._followed().answering

    @property
    def recent(self) -> Answering:
        """The snapshot of the last batch: the unavailable items may be a moment old.

        It costs no look at the state, and is enough for checks.
        """
        return self._now.answering

    @property
    def generation(self) -> int:
        """The generation of the bundle that answers; the state's is higher during a reload."""
        return self._now.generation

    def answer(self, questions: Sequence[Question], rung: int) -> list[Answer]:
        """Answers questions; no list holds an item that is unavailable when the list is done.

        Args:
            questions: see `Answering.answer`.
            rung: of the ladder.

        Raises:
            UnsteadyError: the available items change faster than lists are made.
        """
        for _ in range(_TRIES):
            now = self._followed()
            answers = now.answering.answer(questions, rung)
            if self._state.mark() == now.mark:
                return answers
        raise UnsteadyError("the items that are available change faster than lists are made.")

    def make_unavailable(self, item_ids: Collection[str], back: Collection[str] = ()) -> State:
        """Takes items out of all lists, and lets others come back.

        Args:
            item_ids: IDs of items of the catalog.
            back: IDs of items that lists may hold again; retired items of the bundle stay out.

        Raises:
            KeyError: the catalog has no such item.
            ValueError: nothing would be left to recommend, or an ID stands in both lists.
        """
        catalog = self._now.whole.recommender.catalog
        for item_id in item_ids:
            catalog.index_of(item_id)
        both = {*item_ids} & {*back}
        if both:
            raise ValueError(f"{min(both)!r} is to leave and to come back; name it once.")

        def changed(state: State) -> State:
            unavailable = (state.unavailable | {*item_ids}) - {*back}
            self._now.without(unavailable)  # refuses before anything is written
            return state.model_copy(update={"unavailable": unavailable})

        state = self._state.change(changed)
        self._followed()
        return state

    def reload(self, name: str | None = None) -> State:
        """Loads a bundle, lets it answer canaries, and puts it in the place of the old one.

        Args:
            name: of a folder beside the bundle that the service was started with; None loads the
                bundle of now again, whose files may be others.

        Raises:
            FileNotFoundError: there is no such bundle.
            RefusedBundleError: the bundle is damaged, or the canaries fail; the old one goes on.
            ValueError: the name leads elsewhere.
        """
        with self._reloading:
            state = self._state.read()  # this process may still answer by an older bundle
            path = state.bundle if name is None else self._beside(name)
            is_same = path == state.bundle
            return self._take(path, previous=state.previous if is_same else state.bundle)

    def roll_back(self) -> State:
        """Goes back to the bundle of before the last reload of another one.

        Raises:
            RefusedBundleError: there is none, or it cannot be loaded any more.
        """
        with self._reloading:
            previous = self._state.read().previous
            if previous is None:
                raise RefusedBundleError("there is no other bundle to go back to.")
            return self._take(previous, previous=None)

    def _take(self, path: Path, *, previous: Path | None) -> State:
        """Lets a bundle answer from now on, here and, by the state, in other processes.

        Args:
            path: of the bundle.
            previous: the bundle to which a later call may go back.
        """
        new = self._load(path, self._state.read().unavailable)

        def taken(state: State) -> State:
            later = state.generation + 1
            changes = {"bundle": path, "previous": previous, "generation": later}
            return state.model_copy(update=changes)

        with self._swapping:
            changed = self._state.change(taken)
            self._install(new, changed.generation)
        return changed

    def _install(self, new: _Loaded, generation: int) -> None:
        """Lets a bundle answer in this process; the caller holds the lock of swaps."""
        self._now = self._marked(replace(new, generation=generation))
        self._report(generation)

    def _marked(self, loaded: _Loaded) -> _Loaded:
        """A bundle without the items that are unavailable now, and the mark of that state."""
        mark = self._state.mark()  # before the state is read: a later one is then seen as new
        unavailable = self._state.read().unavailable
        return replace(loaded.without(unavailable), mark=mark)

    def _followed(self) -> _Loaded:
        """The bundle that answers, after it has taken over the unavailable items of the state."""
        if self._state.mark() != self._now.mark:
            with self._swapping:
                self._now = self._marked(self._now)
        return self._now

    def _watch(self) -> None:
        """Follows reloads of other processes; a bundle that fails here leaves the old one."""
        failed: State | None = None
        while not self._closed.wait(_WATCH_EVERY_S):
            try:
                with self._reloading:
                    state, now = self._state.read(), self._now
                    # Two processes may have reloaded at the same time: the number is not enough.
                    is_known = (state.bundle, state.generation) == (now.path, now.generation)
                    if is_known or state == failed:
                        continue
                    failed = state
                    new = self._load(state.bundle, state.unavailable)
                    with self._swapping:
                        self._install(new, state.generation)
            except Exception:  # this thread must live as long as the process
                _LOG.exception("the bundle of another process could not be taken over")

    def _beside(self, name: str) -> Path:
        """The folder of a name, beside the bundle that the service was started with."""
        is_long = len(name.encode(errors="replace")) > _LONGEST_NAME
        if is_long or name in ("", ".", "..") or Path(name).name != name or "\\" in name:
            raise ValueError(
                f"{name!r:.80} is no name of a folder beside the bundle of this service; write the "
                "name alone, without a path."
            )
        path = self._root / name
        if not path.is_dir():
            raise FileNotFoundError(f"there is no folder {name!r} beside the bundle.")
        return path

    def _load(self, path: Path, unavailable: frozenset[str]) -> _Loaded:
        """A bundle, after it has answered its canaries."""
        try:
            loaded = load(path, device=self._device, maps_weights=True)
            whole = Snapshot.of(loaded.with_precision(self._precision))
            new = _Loaded.of(path, whole, unavailable)
            self._ask_canaries(new)
        except (ValueError, ImportError, FileNotFoundError) as error:
            raise RefusedBundleError(str(error)) from error
        return new

    def _ask_canaries(self, new: _Loaded) -> None:
        """Lets a bundle answer in every way, alone and in a batch, which also warms it up.

        Raises:
            RefusedBundleError: a list is empty, holds an unavailable item, or has no finite score.
        """
        questions = [
            Question(request=Request(history=history, k=_K))
            for history in canaries(new.whole.recommender)
        ]
        for rung in range(NUM_RUNGS):
            new.answering.answer(questions[:1], rung)
            for start in range(0, len(questions), self._max_batch):
                some = questions[start : start + self._max_batch]
                for question, answer in zip(some, new.answering.answer(some, rung), strict=True):
                    _refuse_bad_list(question, answer, new.unavailable)


def canaries(recommender: LoadedRecommender) -> list[list[str]]:
    """Histories that a new bundle must answer: of its users, or of one item each; one is empty."""
    catalog, users = recommender.catalog, recommender.users
    if users is not None and len(users):
        rows = np.unique(np.linspace(0, len(users) - 1, _NUM_CANARIES, dtype=int))
        known = histories_of([users.user_ids[row] for row in rows], users, catalog)
        return [[], *map(list, known.values())]
    items = np.unique(np.linspace(0, catalog.num_items - 1, _NUM_CANARIES, dtype=int))
    return [[], *([item_id] for item_id in catalog.ids_of(items))]


def _refuse_bad_list(question: Question, answer: Answer, unavailable: frozenset[str]) -> None:
    ranked = answer.ranked
    history = f"the history {list(question.request.history)!r:.80}"
    if not ranked.item_ids:
        raise RefusedBundleError(f"the bundle has no answer to {history}.")
    if unavailable.intersection(ranked.item_ids):
        raise RefusedBundleError(f"the bundle answers {history} with an unavailable item.")
    if not all(map(math.isfinite, ranked.scores)):
        raise RefusedBundleError(f"the bundle has no finite scores for {history}.")
