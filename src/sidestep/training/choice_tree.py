"""Choice trees: the visited prefixes at which a policy still chooses between items."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import NO_STATE, Trie
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.step import ROOT_SLOT, HistoryBatch, StepOutput, log_probs
from sidestep.training.candidate_tree import read_nodes

IsLeftOut = Callable[[Int[Tensor, "*shape"]], Bool[Tensor, "*shape"]]
"""Tells the prefixes that a tree leaves out, and with each of them all longer prefixes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceTree:
    """The prefixes above some leaves below which more than one leaf lies; the root has slot 0.

    A policy chooses nothing at any other prefix: each code that follows there is the only legal
    one. A pass over this tree therefore gives every probability that a pass over all prefixes and
    leaves gives, with fewer nodes.

    states: the states of the trie in slots 1, 2, ..., in ascending order, so that parents come
        before children; `NO_STATE` at padding.
    codes: the last code of each state; some code at padding.
    parents: the slot of each parent.
    depths: codes decided; 1 at padding.
    """

    states: Int[Tensor, "users nodes"]
    codes: Int[Tensor, "users nodes"]
    parents: Int[Tensor, "users nodes"]
    depths: Int[Tensor, "users nodes"]

    @staticmethod
    def above(
        leaves: Int[Tensor, "users leaves"], trie: Trie, *, is_left_out: IsLeftOut | None = None
    ) -> "ChoiceTree":
        """The tree of the prefixes of some leaves.

        Args:
            leaves: of each user; a leaf may stand twice, and `NO_STATE` is padding.
            trie: of the catalog.
            is_left_out: see `IsLeftOut`; None leaves nothing out.
        """
        prefixes = trie.prefixes(leaves)[..., :-1].flatten(1)
        if is_left_out is not None:
            prefixes = prefixes.masked_fill(is_left_out(prefixes), NO_STATE)
        start, stop = trie.leaf_range(prefixes)
        # All ancestors of a prefix with two leaves below it have two leaves below them.
        past_all = trie.num_nodes()
        ordered = prefixes.masked_fill(stop - start < 2, past_all).sort(dim=1).values
        is_again = functional.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0), value=False)
        ordered = ordered.masked_fill(is_again, past_all).sort(dim=1).values
        width = int((ordered < past_all).sum(dim=1).max()) if ordered.numel() else 0
        ordered = ordered[:, :width].contiguous()
        states = ordered.masked_fill(ordered == past_all, NO_STATE)
        above = torch.searchsorted(ordered, trie.parent(states).contiguous())
        depths = trie.depth(states)
        return ChoiceTree(
            states=states,
            codes=trie.codes_of(states).clamp(min=0),
            parents=torch.where(depths > 1, 1 + above, ROOT_SLOT),
            depths=depths.clamp(min=1),
        )

    @property
    def is_node(self) -> Bool[Tensor, "users nodes"]:
        """False at padding."""
        return self.states != NO_STATE

    @property
    def slot_states(self) -> Int[Tensor, "users slots"]:
        """The state in each slot, the root's first; `NO_STATE` where there is none."""
        return functional.pad(self.states, (1, 0), value=0)

    def read(self, model: SemanticIdModel, histories: HistoryBatch) -> StepOutput:
        """Output of a network for every slot, in one pass and with gradients where they are on."""
        return read_nodes(
            model, histories, self.codes, self.parents, self.depths, is_node=self.is_node
        )

    def node_log_probs(self, step: StepOutput, trie: Trie) -> Float[Tensor, "users slots codes"]:
        """Log-probabilities over the legal codes that may follow each slot; -inf elsewhere."""
        return log_probs(step, trie.legal(self.slot_states))
