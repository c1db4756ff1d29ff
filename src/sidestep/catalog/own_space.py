"""Code spaces that a catalog names, for codes that span no trie.

The name is one of `BUILT_IN`, or the import path of a user's own class.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from sidestep.catalog.space import CodeSpace
from sidestep.import_paths import imported

SETS = "sets"
"""The name of the space of code sets, see `sidestep.catalog.set_space`."""

BUILT_IN = {SETS: "sidestep.catalog.set_space:SetSpace"}
"""Import paths of the spaces of Sidestep that have a name."""


@runtime_checkable
class MadeOfCodes(Protocol):
    """A class whose code spaces are made of the codes of a catalog."""

    @classmethod
    def of_codes(
        cls,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        *,
        popularity: Int[np.ndarray, " items"] | None,
    ) -> CodeSpace:
        """The space of all items. Equal codes give equal states, on any device.

        Args:
            semantic_ids: row i is item i; the space lies on the device of the codes.
            codebook_sizes: codes per level, which the space gives as its own.
            popularity: orders the items that nothing tells apart, descending, ties by index; None
                where it is not known.

        Raises:
            ValueError: the codes span no such space; says why.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnSpace:
    """The code space of a catalog that names one.

    path: the name or the import path of the class.
    space: of all items.
    """

    path: str
    space: CodeSpace

    @staticmethod
    def of(
        path: str,
        semantic_ids: Int[Tensor, "items levels"],
        codebook_sizes: tuple[int, ...],
        popularity: Int[np.ndarray, " items"] | None,
    ) -> "OwnSpace":
        """Makes the space of the codes of a catalog, on their device.

        Raises:
            ValueError: the class cannot be imported, is none of code spaces, refuses the codes, or
                makes a space of other items, other codebooks or more steps than codes.
        """
        made = space_class(path).of_codes(semantic_ids, codebook_sizes, popularity=popularity)
        if not isinstance(made, CodeSpace):
            raise ValueError(
                f"{path}: of_codes gives a {type(made).__name__}, which is no code space; see "
                "sidestep.catalog.space.CodeSpace."
            )
        num_items, num_levels = semantic_ids.shape
        if made.codebook_sizes != codebook_sizes or made.num_items != num_items:
            raise ValueError(
                f"{path}: the space has {made.num_items} items and codebooks "
                f"{made.codebook_sizes}, but the codes are of {num_items} items and codebooks "
                f"{codebook_sizes}; keep both in of_codes."
            )
        if made.num_steps > num_levels:
            raise ValueError(
                f"{path}: the space takes {made.num_steps} steps, but an item has {num_levels} "
                "codes; take at most one step per code."
            )
        return OwnSpace(path=path, space=made)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Codes per level."""
        return self.space.codebook_sizes

    @property
    def device(self) -> torch.device:
        """The device of the space."""
        return self.space.device


def space_class(path: str) -> type[MadeOfCodes]:
    """The class of code spaces with a name or an import path.

    Raises:
        ValueError: it cannot be imported, or makes no space of codes.
    """
    found = imported(BUILT_IN.get(path, path))
    if not isinstance(found, type) or not callable(getattr(found, "of_codes", None)):
        raise ValueError(
            f"{path}: makes no code space; name a class with a class method 'of_codes', see "
            "sidestep.catalog.own_space.MadeOfCodes."
        )
    return found
