"""A network of a user's own: no Transformer, with an item head and vectors of items."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.step import StepOutput


class Shape(BaseModel):
    """The shape of a `Drift`."""

    dim: int = 4


@dataclass(frozen=True)
class Path:
    """The states in all slots."""

    states: Tensor
    history_states: None = None


class Drift(SemanticIdModel):
    """A state is the sum of the items of the history and of the codes on the path."""

    Config: ClassVar = Shape

    def __init__(self, config, semantic_ids, codebook_sizes):
        super().__init__(semantic_ids, codebook_sizes)
        self.config = config
        self.codes = nn.Embedding(self.num_codes, config.dim)
        self.items = nn.Embedding(self.num_items, config.dim)
        self.scores = nn.Linear(config.dim, self.num_items, bias=False)

    @property
    def head_weight(self):
        return self.codes.weight

    @property
    def item_scorer(self):
        return self

    def item_logits(self, states, histories):
        return self.scores(states)

    def some_item_logits(self, states, items, histories):
        return (states * self.scores.weight[items]).sum(dim=-1)

    def item_parameters(self):
        return self.scores.parameters()

    def catalog_vectors(self):
        return self.items.weight

    def encode(self, histories, *, capacity):
        is_item = torch.arange(histories.items.shape[1]) < histories.lengths[:, None]
        vectors = self.items(histories.items.clamp(min=0)) * is_item[..., None]
        root = vectors.sum(dim=1, keepdim=True)
        depths = torch.zeros(root.shape[:2], dtype=torch.long)
        return StepOutput(logits=self.node_logits(root, depths, depth=0), hidden=root), Path(root)

    def extend(self, context, codes, parents, depths, *, is_node, visible=None, depth=None):
        states = context.states
        vectors = self.codes(self.node_codes(codes, depths))
        for column in range(codes.shape[1]):
            parent = parents[:, column, None, None].expand(-1, 1, states.shape[2])
            states = torch.cat([states, states.gather(1, parent) + vectors[:, [column]]], dim=1)
        hidden = states[:, -codes.shape[1] :]
        step = StepOutput(logits=self.node_logits(hidden, depths, depth=depth), hidden=hidden)
        return step, Path(states=states)

    def next_item_states(self, histories):
        vectors = self.items(histories.items.clamp(min=0))
        before = torch.cat([torch.zeros_like(vectors[:, :1]), vectors.cumsum(dim=1)[:, :-1]], dim=1)
        codes = self.codes(self.flat_codes(histories.items))
        path = torch.cat([torch.zeros_like(codes[:, :, :1]), codes.cumsum(dim=2)[:, :, :-1]], dim=2)
        return before[:, :, None] + path
