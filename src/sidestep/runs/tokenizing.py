"""Tokenizing: item vectors to a catalog with semantic IDs, and the tokenizer beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel

from sidestep.data.dataset import Dataset
from sidestep.data.own_split import split_of
from sidestep.import_paths import is_import_path
from sidestep.lazy_imports import imported_when_used, importing
from sidestep.notices import note
from sidestep.runs.catalogs import make_catalog
from sidestep.runs.settings import checked
from sidestep.runs.text_embedding import keep_with_catalog
from sidestep.tokenizer.choices import CollisionPolicy
from sidestep.tokenizer.methods import config_class, make_tokenizer, space_of
from sidestep.tokenizer.tokenizer import Report
from sidestep.tokenizer.vectors import advice, check_fittable, suggested_codebook_sizes

with imported_when_used():
    from sidestep.catalog import catalog as catalogs
    from sidestep.catalog import own_space
    from sidestep.tokenizer import collisions as colliding
    from sidestep.tokenizer import kept as kept_tokenizers
    from sidestep.tokenizer import quality as fits


_TRIE = "trie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A catalog with the tokenizer that made it.

    catalog: the items with their semantic IDs.
    kept: the tokenizer, which encodes further items, and the record of how it was made.
    quality: of the codes before collisions were resolved.
    """

    catalog: catalogs.Catalog
    kept: kept_tokenizers.KeptTokenizer
    quality: fits.FitQuality

    def save(self, path: Path | str, *, vectors: Path | None = None) -> None:
        """Writes the catalog with its tokenizer, whole or not at all.

        Args:
            path: of the catalog's folder.
            vectors: the file that the vectors were read from; the fitted TF-IDF beside the file is
                kept with the catalog. None where there is no file.

        Raises:
            ValueError: something else stands at `path`.
        """

        def write_companions(folder: Path) -> None:
            self.kept.save(folder)
            if vectors is not None:
                keep_with_catalog(vectors, folder)

        self.catalog.save(Path(path), write_companions=write_companions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerTask:
    """A tokenizer to be learned, checked before the work.

    collisions: what becomes of items with equal codes. None, where neither collisions nor codebooks
        were chosen, leaves the choice to `learned_catalog`, which suits any vectors.
    space: the name or the import path of the code space that the codes span; None is the trie.
    """

    method: str
    config: BaseModel
    vectors: Float[np.ndarray, "items dim"]
    collisions: CollisionPolicy | None
    space: str | None = None

    @classmethod
    def of(
        cls,
        method: str,
        values: dict[str, Any],
        vectors: Float[np.ndarray, "items dim"],
        collisions: CollisionPolicy | None,
        *,
        space: str | None = None,
    ) -> "TokenizerTask":
        """The task that settings ask for; notes what is likely to go wrong.

        Args:
            method: name or import path of the tokenizer.
            values: settings of the method, by name.
            vectors: one per item.
            collisions: see the class.
            space: see `chosen_space`.

        Raises:
            ValueError: a setting is not valid, or the space is none.
        """
        config = tokenizer_config(method, values, vectors)
        space = chosen_space(space, method)
        is_chosen = collisions is not None or "codebook_sizes" in values
        task = cls(
            method=method,
            config=config,
            vectors=vectors,
            collisions=(collisions or "reassign") if is_chosen else None,
            space=space,
        )
        if task.collisions is not None and task.codebook_sizes is not None:
            must_be_distinct = task.collisions == "reassign"
            for sentence in advice(
                vectors,
                task.codebook_sizes,
                must_be_distinct=must_be_distinct,
                is_unordered=space == own_space.SETS,
            ):
                note(sentence)
        make_tokenizer(method, config)
        return task

    @property
    def codebook_sizes(self) -> tuple[int, ...] | None:
        """Codes per level; None where only the method knows."""
        sizes = getattr(self.config, "codebook_sizes", None)
        return sizes if isinstance(sizes, tuple) else None

    def sizes(self) -> dict[str, int | float | str]:
        """The sizes that a dry run tells, after the first checks of every method of Sidestep.

        Raises:
            ValueError: the codebooks do not suit the vectors.
        """
        if self.codebook_sizes is not None:
            check_fittable(self.vectors, self.codebook_sizes)
        num_items, dim = self.vectors.shape
        sizes = getattr(self.config, "codebook_sizes", None)
        return {
            "items": num_items,
            "dimensions": dim,
            "method": self.method,
            "codebook_sizes": "decided by the method" if sizes is None else str(sizes),
        }

    def learn(
        self,
        dataset: Dataset,
        *,
        seed: int,
        made_of: Mapping[str, Any] | None = None,
        report: Report | None = None,
    ) -> Learned:
        """Learns the tokenizer and makes the catalog; see `learned_catalog`."""
        return learned_catalog(
            dataset,
            self.vectors,
            self.method,
            self.config,
            collisions=self.collisions,
            space=self.space,
            seed=seed,
            made_of=made_of,
            report=report,
        )


def learned_catalog(
    dataset: Dataset,
    vectors: Float[np.ndarray, "items dim"],
    method: str,
    config: BaseModel,
    *,
    collisions: CollisionPolicy | None,
    seed: int,
    space: str | None = None,
    made_of: Mapping[str, Any] | None = None,
    report: Report | None = None,
) -> Learned:
    """Fits a tokenizer on the vectors and makes the catalog of its codes.

    Args:
        dataset: whose items the vectors are.
        vectors: one per item.
        method: name or import path of the tokenizer.
        config: of that tokenizer.
        collisions: what becomes of items with equal codes; None: `reassign` where the codes suffice
            for it, else `extra`.
        seed: of the fit.
        space: the name or the import path of the code space that the codes span; None is the trie.
        made_of: what the vectors were made of, for the record.
        report: is told of progress.

    Raises:
        ValueError: there is not one vector per item; or see `Tokenizer.fit` and `Catalog.build`.
    """
    _check_items(dataset, vectors)
    fit = make_tokenizer(method, config).fit(vectors, seed=seed, report=report)
    if report is not None:
        report("quality of the codes", 0, 0)
    quality = fits.FitQuality.of(fit, vectors)
    is_unordered = space == own_space.SETS
    if collisions is None:
        has_room = colliding.has_room(fit, is_unordered=is_unordered)
        collisions = "reassign" if has_room else "extra"
    resolved = colliding.resolve_collisions(
        fit, vectors, policy=collisions, is_unordered=is_unordered, report=report
    )
    if report is not None:
        report("the trie" if space is None else "the code space", 0, 0)
    catalog = make_catalog(
        dataset, split_of(dataset), resolved.semantic_ids, resolved.codebook_sizes, space=space
    )
    kept = kept_tokenizers.KeptTokenizer.of(
        fit.tokenizer,
        vectors,
        method=method,
        config=config,
        seed=seed,
        collisions=collisions,
        moved=resolved.num_moved,
        made_of=made_of or {},
    )
    return Learned(catalog=catalog, kept=kept, quality=quality)


def tokenizer_config(
    method: str,
    values: dict[str, Any],
    vectors: Float[np.ndarray, "items dim"],
) -> BaseModel:
    """The configuration of a method; codebook sizes that nobody gave are chosen for the vectors.

    Args:
        method: name or import path of the tokenizer.
        values: settings of the method, by name.
        vectors: one per item.

    Raises:
        ValueError: an unknown key, or a value that is not valid.
    """
    with importing():  # imports the tokenizer
        kind = config_class(method)
    if "codebook_sizes" in kind.model_fields and "codebook_sizes" not in values:
        num_levels = len(kind.model_fields["codebook_sizes"].default)
        values = {**values, "codebook_sizes": suggested_codebook_sizes(vectors, num_levels)}
    return checked(kind, values, method)


def chosen_space(space: str | None, method: str | None = None) -> str | None:
    """The code space that codes shall span: its name or import path; None is the trie.

    Args:
        space: what was asked for: "trie", "sets" or the import path of a class; None leaves the
            choice to the method.
        method: name or import path of the tokenizer; None for codes of others.

    Raises:
        ValueError: there is no such space, or no such method.
    """
    if space is None:
        return None if method is None else space_of(method)
    if space == _TRIE:
        return None
    if space not in own_space.BUILT_IN and not is_import_path(space):
        known = ", ".join((_TRIE, *own_space.BUILT_IN))
        raise ValueError(
            f"--space: there is no {space!r:.80}; there are {known}, and your own by import path, "
            "such as my_package.my_module:MySpace."
        )
    try:
        with importing():
            own_space.space_class(space)
    except ValueError as error:
        raise ValueError(f"--space: {error}") from error
    return space


def _check_items(dataset: Dataset, vectors: Float[np.ndarray, "items dim"]) -> None:
    if len(vectors) != len(dataset.items):
        raise ValueError(
            f"{len(vectors)} vectors for the {len(dataset.items)} items of {dataset.name}; run "
            "'sidestep embed' on this dataset."
        )
