"""Bundles: the folder that a user loads and asks for recommendations.

A bundle holds `manifest.json`, the weights and the catalog, and nothing that has to be unpickled.
"""

import hashlib
import importlib.metadata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sidestep.baselines.item_scores import PopularityRecommender, SasRecRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.files import check_replaceable, read_json, whole_folder, write_json
from sidestep.model.sasrec import SasRec, SasRecConfig
from sidestep.model.transformer import Transformer, TransformerConfig
from sidestep.recommender import GenerativeRecommender, Recommendations, Recommender
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import SearchPolicy
from sidestep.step import NO_ITEM, HistoryBatch

SCHEMA_VERSION = 1

Kind = Literal["semantic-id-transformer", "sasrec", "popularity"]

_FORMAT = "sidestep.bundle"
_MANIFEST = "manifest.json"
_WEIGHTS = "model.safetensors"
_CATALOG = "catalog"
_COUNTS = "counts"
_LIBRARIES = ("sidestep", "torch", "numpy", "safetensors")
_TITLE_COLUMNS = ("title", "name", "terms")
_DEFAULT_BEAMS = 50
_USERS_AT_ONCE = 128


class Manifest(BaseModel):
    """What a bundle is and where it came from.

    model: configuration of the network, empty for popularity.
    training: a summary, for people and results files.
    data: name and hashes of what it was trained on.
    files: SHA-256 by path within the bundle.
    max_history: most recent items that are shown to the network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestep.bundle"]
    schema_version: Literal[1]
    kind: Kind
    model: dict[str, Any]
    max_history: int = Field(ge=1)
    seed: int
    training: dict[str, Any]
    data: dict[str, Any]
    catalog_version: str
    libraries: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedItems:
    """What one user is recommended, best first, as plain Python values.

    scores: one per item; their unit is `score_kind`, such as "log_prob".
    titles: one per item; None where the catalog has no texts.
    tokens: backbone positions spent after the prompt.
    num_unknown: items of the history that were dropped because the catalog lacks them.
    """

    item_ids: list[str]
    scores: list[float]
    score_kind: str
    titles: list[str] | None
    tokens: int
    num_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedRecommender:
    """A bundle in memory; `load` makes it.

    network: in `eval` mode on `device`; None for popularity.
    """

    manifest: Manifest
    catalog: Catalog
    network: Transformer | SasRec | None
    counts: np.ndarray | None = field(repr=False)
    device: torch.device

    @property
    def kind(self) -> Kind:
        """What stands behind it."""
        return self.manifest.kind

    @property
    def max_history(self) -> int:
        """The most recent items of a history that count."""
        return self.manifest.max_history

    def recommender(self, search: SearchPolicy | None = None) -> Recommender:
        """The recommender itself, which speaks of item indices, as evaluation wants it.

        Args:
            search: of the semantic IDs; None is a beam search of 50. Only for kinds that search.

        Raises:
            ValueError: a search is given, and there is nothing to search.
        """
        if isinstance(self.network, Transformer):
            policy = search or BeamSearch(num_beams=_DEFAULT_BEAMS)
            return GenerativeRecommender(self.network, self.catalog.trie, policy)
        if search is not None:
            raise ValueError(f"{self.kind} scores every item and searches nothing; omit search.")
        if self.network is not None:
            return SasRecRecommender(self.network)
        assert self.counts is not None
        return PopularityRecommender(self.counts)

    def recommend(
        self,
        histories: Sequence[Sequence[str]],
        k: int = 10,
        *,
        exclude_seen: bool = False,
        search: SearchPolicy | None = None,
        available: Collection[str] | None = None,
    ) -> list[RankedItems]:
        """Ranks items for each user.

        Args:
            histories: per user the IDs of past items, oldest first. IDs that the catalog lacks are
                dropped and counted; only the most recent `max_history` of the rest are looked at.
            k: the longest list wanted. A search may find fewer.
            exclude_seen: leaves out the items of the history looked at.
            search: see `recommender`; None is a beam search of at least 50 and `k` beams.
            available: IDs of the items that may be recommended; None means all.

        Returns:
            One answer per user, in their order.

        Raises:
            KeyError: `available` names an item that the catalog lacks.
            TypeError: a history or `available` is one text instead of a sequence of IDs, an ID is
                no text, or `k` no integer.
            ValueError: `k` is not positive, or a search is given where there is none.
        """
        _check_request(histories, k, available)
        known, num_unknown = Histories.from_item_ids(
            {str(row): list(history) for row, history in enumerate(histories)},
            self.catalog.indices_of,
        )
        known = known.cut(self.max_history)
        if search is None and isinstance(self.network, Transformer):
            search = BeamSearch(num_beams=max(_DEFAULT_BEAMS, k))
        recommender = self.recommender(search)
        is_available = None if available is None else self._is_available(available)
        ranked: list[RankedItems] = []
        for start in range(0, len(known), _USERS_AT_ONCE):
            rows = np.arange(start, min(start + _USERS_AT_ONCE, len(known)))
            batch = known.batch(rows).to(self.device)
            answer = _ranked(
                recommender, batch, k, exclude_seen=exclude_seen, is_available=is_available
            )
            ranked += self._named(answer, num_unknown[rows].tolist())
        return ranked

    def _named(self, answer: Recommendations, num_unknown: Sequence[int]) -> list[RankedItems]:
        """Indices as IDs and titles, without padding."""
        items, scores = answer.items.cpu(), answer.scores.cpu()
        named = []
        for row, unknown in enumerate(num_unknown):
            is_item = items[row] != NO_ITEM
            indices = items[row][is_item].numpy()
            named.append(
                RankedItems(
                    item_ids=self.catalog.ids_of(indices),
                    scores=scores[row][is_item].tolist(),
                    score_kind=answer.score_kind,
                    titles=None if self.catalog.texts is None else self.titles(indices),
                    tokens=int(answer.tokens[row]),
                    num_unknown=unknown,
                )
            )
        return named

    def titles(self, items: np.ndarray) -> list[str]:
        """What to call items of these indices: their title, name or terms, else their first text.

        The ID stands in where an item has no such text.

        Raises:
            ValueError: the catalog has no texts.
        """
        texts = self.catalog.texts_of(items)
        named = [name for name in _TITLE_COLUMNS if name in texts.columns]
        column: pl.Series = texts[(named or texts.columns)[0]]
        ids = self.catalog.ids_of(items)
        return [text or item_id for text, item_id in zip(column, ids, strict=True)]

    def _is_available(self, item_ids: Collection[str]) -> Tensor:
        indices = self.catalog.indices_of(list(item_ids))
        unknown = indices == NO_ITEM
        if unknown.any():
            missing = list(item_ids)[int(unknown.argmax())]
            raise KeyError(f"available names {missing!r}, which is no item of the catalog.")
        is_available = torch.zeros(self.catalog.num_items, dtype=torch.bool)
        is_available[torch.from_numpy(indices)] = True
        return is_available


def save_bundle(
    path: Path,
    *,
    network: Transformer | SasRec | None,
    catalog: Catalog,
    max_history: int,
    seed: int,
    counts: np.ndarray | None = None,
    training: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Writes a bundle, whole or not at all; an older bundle at `path` is replaced.

    Args:
        path: the folder.
        network: what recommends; None makes a popularity bundle of `counts`.
        catalog: item IDs, semantic IDs and texts; the one the network was trained on.
        max_history: see `Manifest`.
        seed: of the training.
        counts: interactions per item in training, for popularity.
        training: a summary, as JSON.
        data: name and hashes of the dataset, as JSON.
    """
    if (network is None) == (counts is None):
        raise ValueError("a bundle holds either a network or counts; give one of the two.")
    check_replaceable(
        path,
        "a bundle",
        lambda folder: (folder / _MANIFEST).is_file(),
        (_MANIFEST, _WEIGHTS, _CATALOG),
    )
    with whole_folder(path) as folder:
        weights = _state(network) if counts is None else {_COUNTS: torch.from_numpy(counts)}
        save_file(weights, folder / _WEIGHTS)
        catalog.save(folder / _CATALOG)
        manifest = Manifest(
            format=_FORMAT,
            schema_version=SCHEMA_VERSION,
            kind=_kind_of(network),
            model={} if network is None else network.config.model_dump(mode="json"),
            max_history=max_history,
            seed=seed,
            training=dict(training or {}),
            data=dict(data or {}),
            catalog_version=catalog.version,
            libraries={name: _version_of(name) for name in _LIBRARIES},
            files={
                file.relative_to(folder).as_posix(): _sha256(file)
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        )
        write_json(folder / _MANIFEST, manifest.model_dump(mode="json"))


def load(
    path: Path | str, *, device: torch.device | str | None = None, verify: bool = True
) -> LoadedRecommender:
    """Loads a bundle, or the bundle of a training run.

    Args:
        path: the folder that `save_bundle` wrote, or one that holds it as `bundle`.
        device: where to compute; None takes the GPU if there is one.
        verify: compare the hash of every file; without it, large catalogs load at once.

    Raises:
        FileNotFoundError: there is no bundle, or one of its files is gone.
        ValueError: it was written by a newer version, it is damaged, or there is no such device.
    """
    chosen = _chosen_device(device)
    folder = bundle_folder(Path(path))
    manifest = _read_manifest(folder / _MANIFEST)
    for name, sha256 in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing from the bundle; copy or train it again.")
        if verify and _sha256(file) != sha256:
            raise ValueError(
                f"{file}: not the file that {_MANIFEST} describes; copy or train it again."
            )
    catalog = Catalog.load(folder / _CATALOG)
    if catalog.version != manifest.catalog_version:
        raise ValueError(
            f"{folder / _CATALOG}: version {catalog.version[:12]}, but the bundle was trained on "
            f"{manifest.catalog_version[:12]}; copy or train it again."
        )
    try:
        weights = load_file(folder / _WEIGHTS)
        network = _network_of(manifest, catalog)
        if network is not None:
            network.load_state_dict(weights)
            network.requires_grad_(requires_grad=False).eval().to(chosen)
    except (SafetensorError, RuntimeError, ValidationError) as error:
        raise ValueError(
            f"{folder / _WEIGHTS}: its weights do not fit {_MANIFEST} ({error}); train it again."
        ) from error
    return LoadedRecommender(
        manifest=manifest,
        catalog=catalog.to(chosen),
        network=network,
        counts=weights[_COUNTS].numpy() if network is None else None,
        device=chosen,
    )


def bundle_folder(path: Path) -> Path:
    """Where the bundle lies: `path`, or the folder `bundle` of a run.

    Raises:
        FileNotFoundError: neither is one.
    """
    for folder in (path, path / "bundle"):
        if (folder / _MANIFEST).is_file():
            return folder
    raise FileNotFoundError(
        f"{path}: no bundle here, {_MANIFEST} is missing; train first, or name the folder of a "
        "finished run."
    )


def _check_request(histories: Any, k: Any, available: Any) -> None:
    """Refuses what untyped callers mix up, before any of it is taken for something else."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"k is an integer, got {type(k).__name__} {k!r}.")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if not isinstance(histories, Iterable):
        raise TypeError(f"histories must be one list of item IDs per user, got {histories!r}.")
    if isinstance(histories, str) or any(isinstance(row, str) for row in histories):
        raise TypeError(
            "histories must be one list of item IDs per user, got a text; for one user "
            'pass [["id-1", "id-2"]].'
        )
    if isinstance(available, str):
        raise TypeError(f'available is a collection of item IDs, got a text; pass ["{available}"].')
    for row in [*histories, () if available is None else available]:
        if not isinstance(row, Iterable):
            raise TypeError(
                "histories must be one list of item IDs per user, got "
                f"{type(row).__name__} {row!r}; for a user without a history pass []."
            )
        for item_id in row:
            if not isinstance(item_id, str):
                remedy = "leave it out" if item_id is None else f"pass {str(item_id)!r}"
                raise TypeError(
                    f"item IDs are text, got {type(item_id).__name__} {item_id}; {remedy}."
                )


def _chosen_device(device: torch.device | str | None) -> torch.device:
    has_gpu = torch.cuda.is_available()
    chosen = torch.device(device or ("cuda" if has_gpu else "cpu"))
    if chosen.type == "cuda" and not has_gpu:
        raise ValueError(
            f'device is "{chosen}", but there is no usable GPU here; pass device="cpu" or omit it, '
            "or install a build of PyTorch for your GPU."
        )
    return chosen


def _ranked(
    recommender: Recommender,
    batch: HistoryBatch,
    k: int,
    *,
    exclude_seen: bool,
    is_available: Tensor | None,
) -> Recommendations:
    if is_available is None:
        return recommender.recommend(batch, k, exclude_seen=exclude_seen)
    if isinstance(recommender, GenerativeRecommender):
        available = recommender.trie.availability(is_available)
        return recommender.recommend(batch, k, exclude_seen=exclude_seen, available=available)
    # Every item has a score anyway: rank all, and keep the first k that are available.
    answer = recommender.recommend(batch, recommender.num_items, exclude_seen=exclude_seen)
    is_kept = is_available.to(answer.items.device)[answer.items.clamp(min=0)]
    is_kept &= answer.items != NO_ITEM
    order = (~is_kept).long().argsort(dim=1, stable=True)[:, :k]
    return Recommendations(
        items=answer.items.masked_fill(~is_kept, NO_ITEM).gather(1, order),
        scores=answer.scores.masked_fill(~is_kept, -torch.inf).gather(1, order),
        score_kind=answer.score_kind,
        tokens=answer.tokens,
        leaves=answer.leaves,
    )


def _kind_of(network: nn.Module | None) -> Kind:
    if network is None:
        return "popularity"
    return "semantic-id-transformer" if isinstance(network, Transformer) else "sasrec"


def _network_of(manifest: Manifest, catalog: Catalog) -> Transformer | SasRec | None:
    if manifest.kind == "popularity":
        return None
    # The weights are loaded next: what the initialisation draws must not disturb the caller.
    with torch.random.fork_rng(devices=[]):
        if manifest.kind == "sasrec":
            return SasRec(SasRecConfig(**manifest.model), catalog.num_items)
        config = TransformerConfig(**manifest.model)
        return Transformer(config, catalog.semantic_ids, catalog.codebook_sizes)


def _state(network: nn.Module | None) -> dict[str, Tensor]:
    assert network is not None
    return {
        name: weights.detach().cpu().clone().contiguous()
        for name, weights in network.state_dict().items()
    }


def _read_manifest(file: Path) -> Manifest:
    content = read_json(file)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"{file}: this does not describe a bundle.")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ValueError(
            f"{file}: schema version {version}; this version of Sidestep reads up to "
            f"{SCHEMA_VERSION}. Install a newer Sidestep, or train the bundle again."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}; train the bundle again."
        ) from error


def _version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
