"""Snapshots: recommenders that never change, under a name; a new one replaces the old one whole."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from sidestep.bundle.appending import retire_items
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.ranked_items import RankedItems
from sidestep.bundle.requests import Request
from sidestep.data.frames import content_sha256
from sidestep.padding import NO_ITEM

_SETTINGS = {"kind", "model", "max_history", "num_new_items", "parts", "search"}
"""The fields of a manifest that decide lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotId:
    """The name of a snapshot; two snapshots of the same name give the same lists.

    catalog: version of the catalog: its item IDs and codes.
    tombstones: SHA-256 of the mask of retired items; None where there are none.
    weights: SHA-256 of all else that decides lists: weights of the network and of the parts beside
        it, counts, a fitted recommender, the popularity that orders buckets, the texts that filters
        read, and settings.
    """

    catalog: str
    tombstones: str | None
    weights: str

    def __str__(self) -> str:
        """In short, for logs: catalog, tombstones and weights."""
        parts = (self.catalog, self.tombstones or "none", self.weights)
        return "-".join(part[:12] for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """A recommender and its name; make it with `of`.

    Nothing of the recommender may change afterwards: weights are trained on a copy, and a catalog
    grows into another one. Threads may ask one snapshot at the same time.
    """

    id: SnapshotId
    recommender: LoadedRecommender

    @staticmethod
    def of(recommender: LoadedRecommender) -> "Snapshot":
        """The snapshot of a recommender; reads all weights, to name them."""
        name = SnapshotId(
            catalog=recommender.catalog.version,
            tombstones=_tombstones_sha256(recommender),
            weights=_weights_sha256(recommender),
        )
        return Snapshot(id=name, recommender=recommender)

    def without(self, item_ids: Collection[str]) -> "Snapshot":
        """The snapshot with tombstones on further items; no weights are read again.

        Args:
            item_ids: IDs that the catalog lacks do no harm.

        Raises:
            ValueError: nothing would be left to recommend.
        """
        wanted = sorted(item_ids)
        is_known = self.recommender.catalog.indices_of(wanted) != NO_ITEM
        known = [item_id for item_id, here in zip(wanted, is_known, strict=True) if here]
        recommender = retire_items(self.recommender, known)
        name = replace(self.id, tombstones=_tombstones_sha256(recommender))
        return Snapshot(id=name, recommender=recommender)

    def check(self, request: Request) -> None:
        """Refuses what `answer` would refuse, see `LoadedRecommender.check`."""
        self.recommender.check(request)

    def answer(self, requests: Sequence[Request]) -> list[RankedItems]:
        """The answers to requests, which name this snapshot; see `LoadedRecommender.answer`."""
        name = str(self.id)
        return [replace(answer, snapshot=name) for answer in self.recommender.answer(requests)]


class CurrentSnapshot:
    """The snapshot that answers now; `swap` replaces it while threads ask.

    The snapshot that is current when a batch comes answers the whole batch.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the first one."""
        self._snapshot = snapshot
        self._lock = Lock()

    @property
    def snapshot(self) -> Snapshot:
        """The current snapshot; keep the value for a second call, as `swap` may come between."""
        return self._snapshot

    def swap(self, snapshot: Snapshot) -> Snapshot:
        """Makes a snapshot the current one, and returns the one before.

        The one before finishes its batches, and still answers those who hold it.
        """
        if not isinstance(snapshot, Snapshot):
            raise TypeError(
                f"a {type(snapshot).__name__} is no snapshot; pass Snapshot.of(recommender)."
            )
        with self._lock:
            before, self._snapshot = self._snapshot, snapshot
        return before

    def answer(self, requests: Sequence[Request]) -> list[RankedItems]:
        """The answers of the current snapshot, all of the same one."""
        return self.snapshot.answer(requests)


def _tombstones_sha256(recommender: LoadedRecommender) -> str | None:
    """See `SnapshotId.tombstones`."""
    is_retired = recommender.catalog.is_retired
    if is_retired is None or not is_retired.any():
        return None
    return hashlib.sha256(np.packbits(is_retired).tobytes()).hexdigest()


def _weights_sha256(recommender: LoadedRecommender) -> str:
    """See `SnapshotId.weights`."""
    kept = recommender.manifest.model_dump(mode="json", include=_SETTINGS)
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for name, module in {"network": recommender.network, **recommender.parts}.items():
        if module is not None:
            for weight, values in module.state_dict().items():
                _update(digest, f"{name}.{weight}", values)
    arrays = {"counts": recommender.counts, "popularity": recommender.catalog.popularity}
    if recommender.fitted is not None:
        arrays |= recommender.fitted.arrays()
    for name, array in sorted(arrays.items()):
        if array is not None:
            _update(digest, name, torch.tensor(array))
    if recommender.catalog.texts is not None:
        digest.update(f"\ntexts {content_sha256(recommender.catalog.texts.collect())}\n".encode())
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", name: str, values: Tensor) -> None:
    """Adds a named tensor to a hash, with its type and its shape."""
    digest.update(f"\n{name} {values.dtype} {tuple(values.shape)}\n".encode())
    flat = values.detach().cpu().contiguous().view(-1)
    digest.update(flat.view(torch.uint8).numpy().data)  # numpy has no bf16
