"""A bundle in memory: it takes histories of item IDs, and returns ranked item IDs."""

import copy
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from jaxtyping import Bool
from pydantic import BaseModel
from torch import Tensor, nn

from sidestep.baselines.fitted import FittedRecommender
from sidestep.baselines.fitted_ranker import FittedRanker, FittedScores
from sidestep.baselines.item_scores import (
    ItemNetworkRecommender,
    ItemScoreRecommender,
    PopularityRecommender,
    SummedScores,
)
from sidestep.baselines.repeats import RepeatsRecommender
from sidestep.bundle.columns import described_users, refuse_missing_columns
from sidestep.bundle.eligibility import Eligibility
from sidestep.bundle.kept_searches import policy_of
from sidestep.bundle.manifest import KeptSearch, Manifest
from sidestep.bundle.networks import Network
from sidestep.bundle.parts import (
    PARTS,
    PROCESS_REWARD,
    RANKER,
    VALUE_HEAD,
    KeptProcessReward,
    KeptRanker,
    KeptValueHead,
    ValueUse,
)
from sidestep.bundle.ranked_items import RankedItems, named_items, ranked_frame
from sidestep.bundle.request_batch import RequestBatch
from sidestep.bundle.requests import Request, check_request, check_rows, checked_user_info
from sidestep.bundle.similar import similar_items
from sidestep.bundle.users import histories_of, times_of
from sidestep.bundle.writing import write_bundle
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.latest import LatestAnswers
from sidestep.data.histories import Histories
from sidestep.data.users import UserTable
from sidestep.model.category_head import CategoryHead
from sidestep.model.config import ColumnConfig
from sidestep.model.heads import HeadedModel, ItemScorer
from sidestep.model.item_network import ItemNetwork
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.notices import warn
from sidestep.precision import Precision
from sidestep.recommender import GenerativeRecommender, ReservedPlaces
from sidestep.search.config import GuidanceConfig
from sidestep.search.item_support import ItemSupport
from sidestep.search.policy import SearchPolicy, reads_values, whole_space
from sidestep.step import StepModel

_DEFAULT_BEAMS = 50
_USERS_AT_ONCE = 128
_KEPT_MASKS = 16

Where = Mapping[str, str | Iterable[str]]
"""Filters on the texts of items, see `Request.where`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedRecommender:
    """A bundle in memory; `load` makes it. Items with a tombstone are never recommended.

    network: in `eval` mode on `device`; None where counts or a fitted recommender answer.
    parts: the parts beside the network, by name, in `eval` mode on `device`, too.
    users: the histories of known users, which `recommend_frame` takes by user ID; None for none.
    user_info: what describes the known users, in the columns that the network reads; None where it
        reads none.
    counts: target events per item in training, or the sum of their weights; None where something
        else recommends.
    fitted: a recommender without a network, of Sidestep or of a user's own; None where something
        else recommends.
    precision: of the layers of the network in searches; see `with_precision`.
    """

    manifest: Manifest
    catalog: Catalog
    network: Network | None
    parts: Mapping[str, nn.Module] = field(default_factory=dict)
    users: Histories | None = field(default=None, repr=False)
    user_info: UserTable | None = field(default=None, repr=False)
    counts: np.ndarray | None = field(repr=False)
    fitted: FittedRecommender | None = None
    device: torch.device
    precision: Precision = "fp32"
    _masks: LatestAnswers[Tensor | None] = field(
        default_factory=lambda: LatestAnswers(_KEPT_MASKS), init=False, repr=False
    )

    def with_part(self, name: str, module: nn.Module, kept: BaseModel) -> "LoadedRecommender":
        """A copy with a part beside its network; a part of this name is replaced.

        Args:
            name: see `sidestep.bundle.parts.PARTS`.
            module: trained on this network and catalog.
            kept: the entry in the manifest.
        """
        manifest = self.manifest.model_copy(update={"parts": {**self.manifest.parts, name: kept}})
        return replace(self, manifest=manifest, parts={**self.parts, name: module})

    def with_process_reward(
        self, network: ProcessRewardModel, guidance: GuidanceConfig | None = None
    ) -> "LoadedRecommender":
        """A copy with a process reward model beside its network.

        Args:
            network: trained on this network and catalog.
            guidance: of the search by which its weights were chosen; None is the default.
        """
        kept = KeptProcessReward(model=network.config, guidance=guidance or GuidanceConfig())
        return self.with_part(PROCESS_REWARD, network, kept)

    def with_value_head(self, head: ValueHead, use: ValueUse | None = None) -> "LoadedRecommender":
        """A copy with a value head beside its network.

        Args:
            head: trained on this network.
            use: how it is meant to be used; None is the default.
        """
        use = use or ValueUse()
        kept = KeptValueHead(model=head.config, guidance=use.guidance, gamma=use.gamma)
        return self.with_part(VALUE_HEAD, head, kept)

    def without_parts(self, names: Collection[str]) -> "LoadedRecommender":
        """A copy without some parts, if it has them."""
        entries = {name: kept for name, kept in self.manifest.parts.items() if name not in names}
        parts = {name: part for name, part in self.parts.items() if name not in names}
        manifest = self.manifest.model_copy(update={"parts": entries})
        return replace(self, manifest=manifest, parts=parts)

    def with_moved_network(self, network: Network, head: ValueHead | None) -> "LoadedRecommender":
        """A copy after its network was trained further.

        Args:
            network: the one of before, with other weights.
            head: its value head, if that was there and learned with it. What else was learned on
                the states of before is left out, but the item head, which is part of the network.
                A ranker reads no states, and stays.
        """
        moved = {name for name in self.parts if PARTS[name].reads_states}
        if head is not None:
            moved -= {VALUE_HEAD}
        made = replace(self.without_parts(moved), network=network)
        return made if head is None else replace(made, parts={**made.parts, VALUE_HEAD: head})

    def with_search(self, search: KeptSearch) -> "LoadedRecommender":
        """A copy with another search to recommend by.

        Raises:
            ValueError: a search by items without an item head or a ranker, or over a user's own
                code space.
        """
        if search.name != "beam" and self.item_support is None:
            raise ValueError(
                f"{search.name} needs an item head or a ranker, and this {self.kind} has neither."
            )
        if search.name != "beam" and not self.catalog.lists_items:
            self.catalog.refuse_own_space(search.name)
        return replace(self, manifest=self.manifest.model_copy(update={"search": search}))

    def with_precision(self, precision: Precision) -> "LoadedRecommender":
        """A copy whose searches compute in another precision; the weights stay as they are.

        bf16 is faster on GPUs and on processors with matrix units, and worth it for large networks.
        Lists may differ from those in fp32 where scores are close.

        Raises:
            ValueError: bf16, and the recommender searches no semantic IDs.
        """
        if precision == "bf16" and not self.is_searched:
            raise ValueError(
                f"precision bf16 is for networks that write semantic IDs, and this is {self.kind}; "
                "leave it out."
            )
        return replace(self, precision=precision)

    def __repr__(self) -> str:
        """One line: kind, size and origin."""
        users = "" if self.users is None else f", {len(self.users):,} users"
        return f"<{self.kind}: {self.catalog.num_items:,} items{users}, on {self.device}>"

    def with_users(
        self, users: Histories | None, info: UserTable | None = None
    ) -> "LoadedRecommender":
        """A copy with the histories of its users, whose items are those of the catalog.

        Their times are kept where the recommender reads times.

        Args:
            users: None for no known users.
            info: what describes them, of which the columns that the recommender reads are kept;
                None if nothing is known.

        Raises:
            ValueError: the recommender reads columns that `info` lacks.
        """
        if users is not None and not self.reads_times:
            users = replace(users, timestamps=None)
        kept = None
        if users is not None and info is not None and self.user_columns is not None:
            table = described_users(info, self.user_columns)
            kept = UserTable(table.of(users.user_ids))
        return replace(self, users=users, user_info=kept)

    def save(self, path: Path | str) -> None:
        """Writes the bundle, whole or not at all; an older bundle at `path` is replaced.

        Raises:
            ValueError: a part does not fit the network or the catalog, the catalog lacks a column
                that is read, or something else stands at `path`.
        """
        catalog = self.catalog.to("cpu")
        for module in (self.network, *self.parts.values()):
            refuse_missing_columns(module, catalog)
        for name, part in self.parts.items():
            PARTS[name].refuse_misfit(part, self.network, catalog)
        write_bundle(
            Path(path),
            self.manifest,
            catalog,
            network=self.network,
            counts=self.counts,
            fitted=self.fitted,
            parts=self.parts,
            users=self.users,
            user_info=self.user_info,
        )

    @property
    def kind(self) -> str:
        """The kind of its network, or of its counts."""
        return self.manifest.kind

    @property
    def max_history(self) -> int:
        """The most recent items of a history that count."""
        return self.manifest.max_history

    @property
    def knows_empty_history(self) -> bool:
        """Whether lists for users without a history are worth something.

        False for a network that was trained to predict no user's first item. A bundle of an older
        version does not tell that, and is taken to know empty histories.
        """
        # What was trained later saw no fewer users.
        return self.manifest.first_training.get("first_targets") != 0

    @property
    def process_reward(self) -> ProcessRewardModel | None:
        """The process reward model; None where the bundle has none."""
        return cast(ProcessRewardModel | None, self.parts.get(PROCESS_REWARD))

    @property
    def value_head(self) -> ValueHead | None:
        """The value head; None where the bundle has none."""
        return cast(ValueHead | None, self.parts.get(VALUE_HEAD))

    @property
    def ranker(self) -> SasRec | FittedRanker | None:
        """The ranker; None where the bundle has none."""
        return cast(SasRec | FittedRanker | None, self.parts.get(RANKER))

    @property
    def guidance(self) -> GuidanceConfig | None:
        """The guidance by which the weights of the process reward model were chosen."""
        kept = cast(KeptProcessReward | None, self.manifest.parts.get(PROCESS_REWARD))
        return None if kept is None else kept.guidance

    @property
    def value_use(self) -> ValueUse | None:
        """The guidance and discount that the value head was trained with."""
        return cast(ValueUse | None, self.manifest.parts.get(VALUE_HEAD))

    @property
    def ranker_use(self) -> KeptRanker | None:
        """The weight and guidance that the ranker was attached with."""
        return cast(KeptRanker | None, self.manifest.parts.get(RANKER))

    @property
    def item_ranker(self) -> ItemNetworkRecommender | FittedScores | None:
        """The ranker as searches ask it."""
        if self.ranker is None or self.ranker_use is None:
            return None
        max_history = min(self.ranker_use.max_history, self.max_history)
        if isinstance(self.ranker, FittedRanker):
            return FittedScores(self.ranker.recommender, max_history=max_history)
        return ItemNetworkRecommender(self.ranker, max_history=max_history)

    @property
    def item_scorer(self) -> ItemScorer | None:
        """The network as one that scores items, if it has an item head; else None."""
        network = self.network
        return network.item_scorer if isinstance(network, SemanticIdModel) else None

    @property
    def item_support(self) -> ItemSupport | None:
        """Scores prefixes by the item head, the ranker or both; None where there is neither."""
        head, ranker = self.item_scorer, self.item_ranker
        if ranker is None or self.ranker_use is None:
            return None if head is None else ItemSupport(head=head)
        return ItemSupport(head=head, ranker=ranker, ranker_weight=self.ranker_use.weight)

    @property
    def category_head(self) -> CategoryHead | None:
        """The category head of the network, if it has one that tells prefixes apart; else None."""
        network = self.network
        if not isinstance(network, SemanticIdModel) or not network.reads_prefixes:
            return None
        return network.category_head

    @property
    def reads_times(self) -> bool:
        """Whether its network, the ranker beside it or its fitted recommender reads times."""
        readers = (self.network, self.ranker, self.fitted)
        return any(reader is not None and reader.reads_times for reader in readers)

    @property
    def user_columns(self) -> Mapping[str, ColumnConfig] | None:
        """The columns of users that its network, or the ranker beside it, reads; None for none."""
        for network in (self.network, self.ranker):
            if network is not None and network.user_columns is not None:
                return network.user_columns.columns
        return None

    @property
    def num_new_items(self) -> int:
        """Items that were appended after the training: the last ones of the catalog."""
        return self.manifest.num_new_items

    @property
    def new_item_ids(self) -> list[str]:
        """The IDs of the new items; as `available` they give lists of new items alone."""
        num_items = self.catalog.num_items
        return self.catalog.ids_of(np.arange(num_items - self.num_new_items, num_items))

    @property
    def is_searched(self) -> bool:
        """Whether the network writes semantic IDs, so that a search finds the items."""
        return isinstance(self.network, SemanticIdModel)

    def recommender(
        self,
        search: SearchPolicy | None = None,
        *,
        available: Collection[str] | None = None,
        where: Where | None = None,
        num_new_places: int = 0,
    ) -> GenerativeRecommender | ItemScoreRecommender | ReservedPlaces:
        """The recommender over item indices, which evaluation uses.

        Args:
            search: of the semantic IDs; None is the one that the manifest names, with 50 beams.
                Only for kinds that search.
            available: IDs of the items that may be recommended; None means all. Items with a
                tombstone and IDs that the catalog lacks are left out.
            where: see `Request`.
            num_new_places: see `Request`.

        Raises:
            KeyError: the catalog has none of the items that `available` names, or no item passes a
                filter of `where`.
            TypeError: `search` is a name, and no policy.
            ValueError: a search is given, and there is nothing to search; or places for new items,
                and there are none.
        """
        self._refuse_search(search)
        self._refuse_new_places(num_new_places)
        return self._recommender(search, Eligibility.of(available, where), num_new_places)

    def _recommender(
        self, search: SearchPolicy | None, eligible: Eligibility, num_new_places: int
    ) -> GenerativeRecommender | ItemScoreRecommender | ReservedPlaces:
        """See `recommender`; what is asked for was checked."""
        if not num_new_places:
            return self._without_places(search, eligible)
        return ReservedPlaces(
            self._without_places(search, eligible),
            self._without_places(search, replace(eligible, new_only=True)),
            num_places=num_new_places,
        )

    def _without_places(
        self, search: SearchPolicy | None, eligible: Eligibility
    ) -> GenerativeRecommender | ItemScoreRecommender:
        """The recommender of eligible items, without places for new ones."""
        is_eligible = self._mask(eligible)
        if isinstance(self.network, SemanticIdModel):
            policy = search or self._own_search(_DEFAULT_BEAMS)
            space = whole_space(self.catalog.spanned)
            if is_eligible is not None:
                space = space.among(is_eligible)
            model: StepModel[Any] = self.network
            if self.value_head is not None and reads_values(policy):
                model = HeadedModel(self.network, self.value_head)
            return GenerativeRecommender(
                model, space, policy, max_history=self.max_history, precision=self.precision
            )
        if isinstance(self.network, ItemNetwork):
            own = ItemNetworkRecommender(
                self.network, max_history=self.max_history, is_available=is_eligible
            )
            if self.item_ranker is None or self.ranker_use is None:
                return own
            return SummedScores(
                own, self.item_ranker, weight=self.ranker_use.weight, is_available=is_eligible
            )
        if self.fitted is not None:
            fitted = copy.copy(self.fitted)
            fitted.is_available = is_eligible
            return fitted
        assert self.counts is not None
        if self.kind == "repeats":
            return RepeatsRecommender(
                self.counts, max_history=self.max_history, is_available=is_eligible
            )
        return PopularityRecommender(self.counts, is_available=is_eligible)

    def answer(self, requests: Sequence[Request]) -> list[RankedItems]:
        """Ranks items for each request; requests of all sorts may stand side by side.

        Requests share the work of a search where search and eligible items are the same, whatever
        else differs. An answer does not depend on the requests beside it, but for the rounding of
        scores, whose last digits may follow the size of a batch.

        Args:
            requests: may be none.

        Returns:
            One answer per request, in their order.

        Raises:
            KeyError, TypeError, ValueError: a request cannot be answered, see `check`; no request
                is then.
        """
        if isinstance(requests, Request) or not all(isinstance(each, Request) for each in requests):
            raise TypeError("requests is a list of Request; pass [Request(history=[...])].")
        asked: dict[tuple[int, int], Eligibility] = {}  # lists of a million IDs are read once
        groups: dict[Hashable, list[int]] = {}
        for place, request in enumerate(requests):
            same = (id(request.available), id(request.where))
            if same not in asked:
                asked[same] = Eligibility.of(request.available, request.where)
                self._mask(asked[same])
            self._check(request)
            groups.setdefault(self._group(request, asked[same]), []).append(place)
        answers: dict[int, RankedItems] = {}
        for places in groups.values():
            first = requests[places[0]]
            recommender = self._recommender(
                self._search_of(first),
                asked[(id(first.available), id(first.where))],
                min(first.num_new_places, self.catalog.num_items),
            )
            for start in range(0, len(places), _USERS_AT_ONCE):
                some = places[start : start + _USERS_AT_ONCE]
                together = [requests[place] for place in some]
                answers |= zip(some, self._ranked(recommender, together), strict=True)
        return [answers[place] for place in range(len(requests))]

    def check(self, request: Request) -> None:
        """Refuses what `answer` would refuse, so that no request spoils a batch of others.

        Raises:
            KeyError: `available` names items, none of which the catalog has; `where` names a column
                that the catalog lacks, or values that no item has.
            TypeError: a history, `available` or what a user must not get is one text instead of a
                sequence of IDs, an ID is no text, `k` no integer, or the search a name.
            ValueError: `k` is not positive, a search is given where there is none, places for new
                items that do not fit into `k` or that no new item could take, or times that do not
                fit the history or that nobody would read.
        """
        self._check(request)
        self._mask(Eligibility.of(request.available, request.where))

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        exclude_seen: bool = False,
        search: SearchPolicy | None = None,
        available: Collection[str] | None = None,
        where: Where | None = None,
        excluded: Sequence[Collection[str]] | None = None,
        num_new_places: int = 0,
        times: Sequence[Sequence[int]] | None = None,
        moments: Sequence[int] | None = None,
        user_info: pl.DataFrame | Sequence[Mapping[str, Any]] | None = None,
    ) -> list[RankedItems]:
        """Ranks items for each user: `answer` for users who ask for the same.

        Args:
            histories: per user the IDs of past items, oldest first.
            k, exclude_seen, search, available, where, num_new_places: of every user, see `Request`.
            excluded: per user the IDs of further items that this user must not get.
            times: per user the times of the items of the history; None if unknown.
            moments: when each user is recommended to; None if unknown.
            user_info: what describes the users, in their order: a frame with one row per user and
                the columns of `user_columns`, or one mapping per user from columns to values. None
                if nothing is known.

        Returns:
            One answer per user, in their order.

        Raises:
            KeyError, TypeError: see `check`.
            ValueError: there is no user, or an argument of many users has not one entry per user;
                and see `check`.
        """
        check_rows(histories, excluded, times, moments)
        info = checked_user_info(user_info, histories, self.user_columns)
        described = None if info is None else info.to_dicts()
        return self.answer(
            [
                Request(
                    history=history,
                    times=None if times is None else times[row],
                    moment=None if moments is None else moments[row],
                    user_info=None if described is None else described[row],
                    k=k,
                    exclude_seen=exclude_seen,
                    excluded=() if excluded is None else excluded[row],
                    available=available,
                    where=where,
                    search=search,
                    num_new_places=num_new_places,
                )
                for row, history in enumerate(histories)
            ]
        )

    def recommend_frame(
        self,
        users: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        k: int = 10,
        *,
        exclude_seen: bool = False,
        search: SearchPolicy | None = None,
        available: Collection[str] | None = None,
        where: Where | None = None,
        moment: int | None = None,
    ) -> pl.DataFrame:
        """Recommendations as a frame: user_id, item_id, rank from 1, score, and title if known.

        Args:
            users: IDs of users whose histories the recommender knows; or histories by user ID, each
                a list of item IDs, oldest first; None asks for all known users.
            k: the longest list wanted.
            exclude_seen, search, available, where: see `Request`.
            moment: when all these users, whose times must be known, are recommended to; see
                `Request`.

        Raises:
            KeyError: a user is not known.
            TypeError: `users` is one text, or an ID is no text; and see `recommend`.
            ValueError: no histories are known, or `users` is empty; and see `recommend`.
        """
        histories = histories_of(users, self.users, self.catalog)
        answers = self.recommend(
            list(histories.values()),
            k,
            exclude_seen=exclude_seen,
            search=search,
            available=available,
            where=where,
            times=None if isinstance(users, Mapping) else times_of(histories, self.users),
            moments=None if moment is None else [moment] * len(histories),
            user_info=self._info_of(users, histories),
        )
        num_unknown = sum(answer.num_unknown for answer in answers)
        if num_unknown:
            warn(
                f"{num_unknown:,} items of the histories are not in the catalog, and were left out."
            )
        return ranked_frame(dict(zip(histories, answers, strict=True)))

    def similar(self, item_id: str, k: int = 10) -> pl.DataFrame:
        """The items whose vectors in the network are nearest to an item's, by their cosine.

        Args:
            item_id: an item of the catalog.
            k: the longest list wanted.

        Returns:
            A frame: item_id, rank from 1, score, and title if known.

        Raises:
            KeyError: the catalog lacks the item.
            TypeError: the ID is no text, or `k` no integer.
            ValueError: the recommender has no vectors of items, or `k` is not positive.
        """
        return similar_items(self.network, self.catalog, item_id, k, kind=self.kind)

    def _own_search(self, num_beams: int) -> SearchPolicy:
        """The search that the manifest names, with so many beams."""
        return policy_of(self.manifest.search, self.item_support, num_beams=num_beams)

    def _info_of(self, users: Any, asked: Mapping[str, Any]) -> pl.DataFrame | None:
        """Columns that describe known users; None if nothing is known."""
        if isinstance(users, Mapping) or self.user_info is None:
            return None
        return self.user_info.of(list(asked))

    def _check(self, request: Request) -> None:
        """See `check`; all but what is eligible."""
        check_request(request, reads_times=self.reads_times, user_columns=self.user_columns)
        self._refuse_search(request.search)
        self._refuse_new_places(request.num_new_places)

    def _refuse_search(self, search: Any) -> None:
        if isinstance(search, str):
            raise TypeError(
                "search is a policy, such as BeamSearch(num_beams=50) of sidestep.search.beam, "
                f"got {search!r:.60}."
            )
        if search is not None and not self.is_searched:
            raise ValueError(f"{self.kind} scores every item and searches nothing; omit search.")

    def _refuse_new_places(self, num_new_places: int) -> None:
        if num_new_places and not self.num_new_items:
            raise ValueError(
                f"num_new_places is {num_new_places}, but no item was appended to this bundle "
                "after its training; leave it out, or append items with 'sidestep append'."
            )

    def _group(self, request: Request, eligible: Eligibility) -> Hashable:
        """Key that requests share if they can be searched for together."""
        is_own = request.search is None
        search: Any = self._num_beams(request) if is_own else request.search
        try:
            hash(search)
        except TypeError:  # a user's own, of which nobody can say whether it equals another
            search = id(search)
        # Where places are reserved, how a list is put together depends on its length.
        places = (request.num_new_places, request.k) if request.num_new_places else None
        return (is_own, search, eligible, places)

    def _search_of(self, request: Request) -> SearchPolicy | None:
        """The search for a request; None where nothing is searched."""
        if request.search is not None or not self.is_searched:
            return request.search
        return self._own_search(self._num_beams(request))

    def _num_beams(self, request: Request) -> int:
        """Number of beams of the bundle's own search; 0 if nothing is searched."""
        return max(_DEFAULT_BEAMS, self._length(request)) if self.is_searched else 0

    def _length(self, request: Request) -> int:
        """The longest list that there can be; what is set aside for one is as long."""
        num_items = self.catalog.num_items
        places = min(request.num_new_places, num_items)
        return min(request.k - request.num_new_places, num_items) + places

    def _ranked(
        self,
        recommender: GenerativeRecommender | ItemScoreRecommender | ReservedPlaces,
        requests: Sequence[Request],
    ) -> list[RankedItems]:
        """The answers to requests of one group; a shorter list is the beginning of a longer one."""
        batch = RequestBatch.of(requests, self.catalog.indices_of, self.user_columns)
        lengths = [self._length(request) for request in requests]
        answer = recommender.recommend(
            batch.histories.to(self.device), max(lengths), excluded=batch.unwanted
        )
        return named_items(
            answer,
            self.catalog,
            lengths=lengths,
            first_new=self.catalog.num_items - self.num_new_items,
            num_unknown=batch.num_unknown,
        )

    def _mask(self, eligible: Eligibility) -> Bool[Tensor, " items"] | None:
        """The eligible items; None where that is every item. The latest few are kept."""
        # To look up half of a million IDs takes ten times as long as to compare them.
        first_new = self.catalog.num_items - self.num_new_items
        return self._masks.get(eligible, lambda: eligible.mask(self.catalog, first_new))
