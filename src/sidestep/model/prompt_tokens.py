"""Prompts of language models over semantic IDs: which tokens stand before, in and after items.

An item is written as the tokens of its codes, and a history as its items, oldest first, behind the
opening tokens. Everything is counted in tokens, and never in characters of a text.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn import functional

SILENT = -1
"""Stands where a code writes no token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The frame of a prompt in words, as the chat template of a language model has it.

    before, after: texts around the prompt; the tokenizer knows their special tokens.
    end: the token that ends an answer; None where the model has none.
    """

    before: str = ""
    after: str = "\n"
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTokens:
    """The tokens by which a language model reads histories and writes items.

    opening: stand before every history; at least one.
    after_item: stand behind the codes of every item of a history.
    codes: the token of each flat code id.
    silent: flat code ids that write nothing in a history, such as the codes behind the end of a
        short title.
    """

    opening: tuple[int, ...]
    after_item: tuple[int, ...] = ()
    codes: Int[Tensor, " codes"]
    silent: tuple[int, ...] = ()
    turn: Turn | None = None

    def __post_init__(self) -> None:
        """Raises a `ValueError` where there is nothing to predict the first code from."""
        if not self.opening:
            raise ValueError("a prompt needs at least one token before the history, got none.")

    @property
    def largest(self) -> int:
        """The largest token."""
        return max(*self.opening, *self.after_item, int(self.codes.max()), 0)

    def as_json(self) -> dict[str, Any]:
        """The tokens as JSON, which `from_json` reads back."""
        written: dict[str, Any] = {
            "start_token": self.opening[0],
            "code_tokens": self.codes.tolist(),
        }
        # Left out where there are none, as in bundles of older versions.
        if len(self.opening) > 1:
            written["instruction"] = list(self.opening[1:])
        if self.after_item:
            written["after_item"] = list(self.after_item)
        if self.silent:
            written["silent_codes"] = list(self.silent)
        if self.turn is not None:
            written["turn"] = asdict(self.turn)
        return written

    @staticmethod
    def from_json(content: Any) -> "PromptTokens":
        """Reads `as_json`.

        Raises:
            KeyError, TypeError, ValueError: the content is none.
        """
        return PromptTokens(
            opening=(int(content["start_token"]), *map(int, content.get("instruction", ()))),
            after_item=tuple(map(int, content.get("after_item", ()))),
            codes=torch.tensor(content["code_tokens"]),
            silent=tuple(map(int, content.get("silent_codes", ()))),
            turn=Turn(**content["turn"]) if "turn" in content else None,
        )

    def history_tokens(self) -> Int[Tensor, " codes"]:
        """The token of each flat code id in a history; `SILENT` where a code writes nothing."""
        tokens = self.codes.long().clone()
        tokens[list(self.silent)] = SILENT
        return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompts of some users, each as long as its history needs, padded at the end.

    tokens: of the prompts; arbitrary from the length on.
    lengths: tokens of each prompt.
    before: for each code of each item of the history, the column whose state predicts the code;
        arbitrary where there is no item.
    ends: the last column before the first item, and of each item; from the end of a history on,
        that of its last item.
    """

    tokens: Int[Tensor, "users columns"]
    lengths: Int[Tensor, " users"]
    before: Int[Tensor, "users items levels"]
    ends: Int[Tensor, "users items_and_one"]


def write_prompts(
    opening: Int[Tensor, " opening"],
    written: Int[Tensor, "users items positions"],
    is_item: Bool[Tensor, "users items"],
    *,
    num_levels: int,
    columns: int | None = None,
) -> Prompts:
    """Lays the tokens of histories end to end, without the silent ones.

    Args:
        opening: tokens before every history.
        written: the tokens of each item; `SILENT` where nothing is written.
        is_item: False at padding.
        num_levels: the first positions of an item, which are its codes.
        columns: the width of the prompts, where it is known; None asks the device for it.
    """
    users, items, positions = written.shape
    keeps = ((written != SILENT) & is_item[:, :, None]).flatten(1)
    start = len(opening)
    place = start + keeps.cumsum(dim=1) - keeps.long()
    lengths = start + keeps.sum(dim=1)
    width = int(lengths.max()) if columns is None else columns
    tokens = opening[:1].expand(users, width + 1).contiguous()
    tokens[:, :start] = opening
    # What writes nothing goes to a column behind all others, which is cut off.
    tokens.scatter_(1, place.where(keeps, torch.full_like(place, width)), written.flatten(1))
    before = place.view(users, items, positions)[:, :, :num_levels] - 1
    of_items = keeps.view(users, items, positions).sum(dim=2).cumsum(dim=1)
    ends = start - 1 + functional.pad(of_items, (1, 0))
    return Prompts(tokens=tokens[:, :width], lengths=lengths, before=before, ends=ends)
