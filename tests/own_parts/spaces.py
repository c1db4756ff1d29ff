"""Code spaces that go by import path, and a network whose logits are the actions of one."""

import torch

from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.objectives.cross_entropy import next_code_cross_entropy
from sidestep.runs.kinds.transformer import TransformerRun
from sidestep.training.fit import initialised
from sidestep.training.objective import Loss, Objective
from tests.catalog.code_sets import CodeSets
from tests.catalog.titles import Titles
from tests.own_network import Drift, Shape

HERE = __name__


class EndedTitles(Titles):
    """Codes as words: code 0 ends a title, and a title without it has a word per level."""

    @classmethod
    def of_codes(cls, semantic_ids, codebook_sizes, *, popularity):
        titles = []
        for codes in semantic_ids.tolist():
            end = codes.index(0) + 1 if 0 in codes else len(codes)
            titles.append(tuple(codes[:end]))
        ways = sorted({title[:length] for title in titles for length in range(len(title) + 1)})
        return cls(codebook_sizes=codebook_sizes, sets=(), titles=tuple(titles), ways=ways)

    @property
    def num_actions(self):
        return max(self.codebook_sizes)


class AnyOrder(CodeSets):
    """One code of every codebook, in any order: an action is a code of some codebook."""

    @classmethod
    def of_codes(cls, semantic_ids, codebook_sizes, *, popularity):
        made = CodeSets.of([dict(enumerate(row)) for row in semantic_ids.tolist()], codebook_sizes)
        return cls(codebook_sizes=codebook_sizes, sets=made.sets, ways=made.ways)


class FewerItems(AnyOrder):
    """A space that loses an item."""

    @classmethod
    def of_codes(cls, semantic_ids, codebook_sizes, *, popularity):
        return super().of_codes(semantic_ids[1:], codebook_sizes, popularity=popularity)


class TooLong(EndedTitles):
    """Titles that go on for longer than there are codes."""

    num_steps = 9


class Anywhere(EndedTitles):
    """A space on the device of the codes, also where no code can be read."""

    @classmethod
    def of_codes(cls, semantic_ids, codebook_sizes, *, popularity):
        codes = torch.zeros(semantic_ids.shape, dtype=torch.int32)
        made = super().of_codes(codes, codebook_sizes, popularity=popularity)
        object.__setattr__(made, "device", semantic_ids.device)
        return made


class NoSpace:
    """A class that makes something else."""

    @classmethod
    def of_codes(cls, semantic_ids, codebook_sizes, *, popularity):
        return semantic_ids


class SetNetwork(Drift):
    """A network that chooses among the codes of all codebooks at every step."""

    @property
    def num_actions(self):
        return self.num_codes

    def node_codes(self, codes, depths):
        return codes.clamp(min=0)

    def node_logits(self, hidden, depths, *, depth=None):
        return hidden @ self.head_weight.T

    @property
    def item_scorer(self):
        return None


class AllCodes(Objective):
    """The loss of each code of the next item among the codes of all codebooks."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    @property
    def trained(self):
        return {"network": self.network}

    def forward(self, batch):
        users, positions = batch.is_target.nonzero(as_tuple=True)
        states = self.network.next_item_states(batch.histories)[users, positions]
        codes = self.network.flat_codes(batch.items[users, positions])
        loss = next_code_cross_entropy(states @ self.network.head_weight.T, codes).sum()
        return Loss(loss=loss, num_targets=batch.num_targets, parts={})


class SetRun(TransformerRun):
    """A run of a `SetNetwork`."""

    kind: str = f"{HERE}:SetRun"

    def network(self, catalog, windows, *, seed) -> SemanticIdModel:
        with initialised(seed):
            return SetNetwork(Shape(dim=8), catalog.semantic_ids, catalog.codebook_sizes)
