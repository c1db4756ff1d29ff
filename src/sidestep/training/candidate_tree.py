"""Candidate trees: the prefixes of candidate sets, each of which goes through a network once.

Policy and value learn from the very tree that a search found, in one differentiable pass.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sidestep.catalog.trie import NO_STATE
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.objectives.value import is_first_of_prefix, shared_prefixes
from sidestep.search.set_ways import Ways
from sidestep.step import ROOT_SLOT, HistoryBatch, StepOutput, log_probs
from sidestep.training.leaf_ways import LeafWays


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTree:
    """The distinct prefixes of one candidate set per user; the root has slot 0.

    A prefix is a state on the way to a leaf, see `leaf_ways`: the first codes of a semantic ID, or
    a set of codes.

    leaves: the candidates, and the target last if it was to be there and was missed.
    states: of each candidate's prefixes of 1 to L codes; the leaf itself after its last step.
    codes: the last code of each prefix; some code at padding and after the last step.
    is_step: False after the last step of a way, and at padding.
    is_candidate: False at padding.
    is_found: True at the candidates that the search itself returned.
    shared: which candidates share their prefix, see `objectives.value.shared_prefixes`.
    is_first: True at one candidate of each distinct prefix.
    slots: of each candidate's prefixes; arbitrary at padding.
    node_states, node_codes, parents, depths: of the nodes in slots 1, 2, ...
    is_node: False at columns that a user does not need.
    """

    leaves: Int[Tensor, "users candidates"]
    states: Int[Tensor, "users candidates levels"]
    codes: Int[Tensor, "users candidates levels"]
    is_step: Bool[Tensor, "users candidates levels"]
    is_candidate: Bool[Tensor, "users candidates"]
    is_found: Bool[Tensor, "users candidates"]
    shared: Bool[Tensor, "users levels candidates candidates"]
    is_first: Bool[Tensor, "users candidates levels"]
    slots: Int[Tensor, "users candidates levels"]
    node_states: Int[Tensor, "users nodes"]
    node_codes: Int[Tensor, "users nodes"]
    parents: Int[Tensor, "users nodes"]
    depths: Int[Tensor, "users nodes"]
    is_node: Bool[Tensor, "users nodes"]

    @staticmethod
    def along(
        ways: Ways, leaves: Int[Tensor, "users candidates"], *, num_found: int
    ) -> "CandidateTree":
        """The tree of the ways to some leaves.

        Args:
            ways: to the leaves.
            leaves: distinct; `NO_STATE` is padding.
            num_found: the first so many leaves are those that a search found.
        """
        states, codes = ways.states, ways.actions
        is_candidate = leaves != NO_STATE
        shared = shared_prefixes(states, is_candidate)
        is_first = is_first_of_prefix(shared) & ways.is_step
        users, candidates, levels = states.shape
        # A node per distinct prefix, in the order of candidates: parents come before children.
        is_wanted = is_first.flatten(1)
        width = int(is_wanted.sum(dim=1).max()) if is_wanted.numel() else 0
        columns = (~is_wanted).byte().argsort(dim=1, stable=True)[:, :width]
        first = shared.long().argmax(dim=-1).movedim(1, 2)  # [users, candidates, levels]
        by_level = torch.arange(levels, device=leaves.device)
        slots = is_wanted.cumsum(dim=1).gather(1, (first * levels + by_level).flatten(1))
        slots = slots.view(users, candidates, levels)
        parents = functional.pad(slots[..., :-1], (1, 0), value=ROOT_SLOT)
        depths = (1 + by_level).expand_as(states)
        is_own = torch.arange(candidates, device=leaves.device) < num_found
        return CandidateTree(
            leaves=leaves,
            states=states,
            codes=codes,
            is_step=ways.is_step,
            is_candidate=is_candidate,
            is_found=is_candidate & is_own,
            shared=shared,
            is_first=is_first,
            slots=slots,
            node_states=states.flatten(1).gather(1, columns),
            node_codes=codes.flatten(1).gather(1, columns),
            parents=parents.flatten(1).gather(1, columns),
            depths=depths.flatten(1).gather(1, columns),
            is_node=is_wanted.gather(1, columns),
        )

    @property
    def parent_slots(self) -> Int[Tensor, "users candidates levels"]:
        """Where each candidate's codes are chosen: the slot of the prefix one code shorter."""
        return functional.pad(self.slots[..., :-1], (1, 0), value=ROOT_SLOT)

    @property
    def slot_states(self) -> Int[Tensor, "users slots"]:
        """The state in each slot, the root's first; `NO_STATE` where there is none."""
        nodes = self.node_states.masked_fill(~self.is_node, NO_STATE)
        return functional.pad(nodes, (1, 0), value=0)

    @property
    def slot_depths(self) -> Int[Tensor, "users slots"]:
        """Codes decided in each slot; whatever where there is no node."""
        return functional.pad(self.depths, (1, 0), value=0)

    def read(self, model: SemanticIdModel, histories: HistoryBatch) -> StepOutput:
        """Output of a network for every slot, in one pass and with gradients where they are on."""
        return read_nodes(
            model, histories, self.node_codes, self.parents, self.depths, is_node=self.is_node
        )

    @property
    def next_codes(self) -> Int[Tensor, "users slots"]:
        """A code that a candidate's way takes at each slot; -1 where no way goes on."""
        users, slots = self.slot_states.shape
        codes = torch.full((users, slots + 1), -1, device=self.codes.device)
        # What is no step goes to a spare slot at the end.
        at = self.parent_slots.masked_fill(~self.is_step, slots).flatten(1)
        return codes.scatter(1, at, self.codes.flatten(1))[:, :-1]

    def node_log_probs(
        self,
        step: StepOutput,
        legal: Bool[Tensor, "users slots codes"],
        *,
        temperature: float = 1.0,
    ) -> Float[Tensor, "users slots codes"]:
        """Log-probabilities over the legal codes that may follow each slot; -inf elsewhere.

        Args:
            step: see `read`.
            legal: see `LeafWays.legal`.
            temperature: divides the logits.
        """
        return log_probs(step, legal, temperature)

    def code_log_probs(
        self, by_slot: Float[Tensor, "users slots codes"]
    ) -> Float[Tensor, "users candidates levels"]:
        """The log-probability of every candidate's codes; 0 where there is no step.

        Args:
            by_slot: see `node_log_probs`.
        """
        users, candidates, levels = self.codes.shape
        flat = self.parent_slots.flatten(1) * by_slot.shape[2] + self.codes.flatten(1)
        chosen = by_slot.flatten(1).gather(1, flat).view(users, candidates, levels)
        return chosen.masked_fill(~self.is_step, 0.0)

    def values(
        self, head: ValueHead, hidden: Float[Tensor, "users slots dim"]
    ) -> tuple[Float[Tensor, " users"], Float[Tensor, "users candidates levels"]]:
        """Values of the roots and of every candidate's prefixes.

        Args:
            head: reads the states.
            hidden: of the slots, see `read`; detached or not.
        """
        users, candidates, levels = self.states.shape
        by_slot = head.tree_values(hidden, self.parents, self.depths, is_node=self.is_node)
        found = by_slot.gather(1, self.slots.flatten(1)).view(users, candidates, levels)
        return by_slot[:, 0], found


def with_targets(
    found: Int[Tensor, "users found"], targets: Int[Tensor, " users"]
) -> Int[Tensor, "users candidates"]:
    """The finds of a search, and in a last column the target where the search missed it.

    Args:
        found: distinct leaves of each user; `NO_STATE` is padding.
        targets: leaves.
    """
    is_found = (found == targets[:, None]).any(dim=1)
    return torch.cat([found, targets.masked_fill(is_found, NO_STATE)[:, None]], dim=1)


def tree_and_path(
    ways: LeafWays,
    model: SemanticIdModel,
    histories: HistoryBatch,
    found: Int[Tensor, "users found"],
    targets: Int[Tensor, " users"],
    *,
    include_target: bool,
) -> tuple[CandidateTree, Bool[Tensor, "users candidates levels"]]:
    """The tree of the finds of a search, and a mask of its states on the way to the target.

    Args:
        ways: to leaves.
        model: the policy; without dropout.
        histories: of the users.
        found: distinct leaves of each user; `NO_STATE` is padding.
        targets: the leaves of the items that came next.
        include_target: whether the target is to be in the tree, found or not.
    """
    leaves = with_targets(found, targets) if include_target else found
    number = leaves.shape[1]
    along = ways(model, histories, torch.cat([leaves, targets[:, None]], dim=1))
    tree = CandidateTree.along(along.first(number), leaves, num_found=found.shape[1])
    return tree, tree.states == along.states[:, number:]


def read_nodes(
    model: SemanticIdModel,
    histories: HistoryBatch,
    codes: Int[Tensor, "users nodes"],
    parents: Int[Tensor, "users nodes"],
    depths: Int[Tensor, "users nodes"],
    *,
    is_node: Bool[Tensor, "users nodes"],
) -> StepOutput:
    """Output of a network for the root and for all nodes of a tree, in one pass.

    Gradients flow where they are on. The root stands in column 0, a node in the column of its slot.

    Args:
        model: the network.
        histories: of the users.
        codes, parents, depths, is_node: of the nodes, see `StepModel.extend`.
    """
    root, context = model.encode(histories, capacity=max(codes.shape[1], 1))
    if not codes.shape[1]:
        return root
    step, _ = model.extend(context, codes, parents, depths, is_node=is_node)
    return root.joined(step)
