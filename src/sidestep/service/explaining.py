"""The search tree of one request: the prefixes that were kept and dropped, and the items below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool

from sidestep.bundle.eligibility import Eligibility
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.request_batch import RequestBatch
from sidestep.bundle.requests import Request
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.trie import NO_STATE
from sidestep.evaluation.search_tree import SearchTree, search_tree
from sidestep.notices import naming_arguments
from sidestep.padding import NO_ITEM
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.searches import AskedSearch
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.search.proposals import plain_beam
from sidestep.service.messages import ExplainResponse, TreeNode
from sidestep.service.questions import Answering, Question
from sidestep.step import in_precision

_BEAMS = 10
_CANDIDATES_PER_BEAM = 4
_WORDS = 3
"""Titles that stand for the items below a prefix."""


def explain(answering: Answering, question: Question) -> ExplainResponse:
    """The tree of a search, thinned to the nodes that tell most.

    Args:
        answering: searches.
        question: of one user. Without a search, a beam of ten is explained.

    Raises:
        KeyError, TypeError, ValueError: see `Answering.check`; or the bundle has no tree of codes.
    """
    recommender = answering.snapshot.recommender
    asked = question.search or AskedSearch(name="beam", beams=_BEAMS)
    answering.check(replace(question, search=asked))
    with naming_arguments():
        policy = asked.for_lists(recommender, question.request.k)
    if isinstance(policy, BeamSearch):  # watched as a guided beam, which tells what it drops
        beams = policy.num_beams
        policy = plain_beam(num_beams=beams, candidates=_CANDIDATES_PER_BEAM * beams)
    if policy is None:
        raise ValueError(f"{recommender.kind} searches nothing, so there is no tree to show.")
    request = question.request
    found = recommender.recommender(policy, available=request.available, where=request.where)
    batch = RequestBatch.of([request], recommender.catalog.indices_of, recommender.user_columns)
    assert isinstance(found, GenerativeRecommender), "it has a policy"
    space = found.space if batch.unwanted is None else found.space.without(batch.unwanted)
    if not isinstance(space, Scope):
        raise ValueError("sets of codes have no order, so there is no tree to show.")
    history = batch.histories.to(recommender.device).latest(recommender.max_history)
    with in_precision(recommender.device, recommender.precision):
        tree = search_tree(policy, found.model, history, space)
    shown = tree.thinned(num_leaves=min(request.k, _BEAMS))
    return ExplainResponse(
        search=tree.name,
        score_kind=tree.score_kind,
        num_levels=tree.num_levels,
        num_proposed=len(tree.nodes) - 1,
        nodes=_nodes(shown, recommender.catalog, _is_allowed(request, batch, recommender)),
    )


def _is_allowed(
    request: Request, batch: RequestBatch, recommender: LoadedRecommender
) -> Bool[np.ndarray, " items"]:
    """The items that the list of a request may hold."""
    catalog = recommender.catalog
    eligible = Eligibility.of(request.available, request.where)
    mask = eligible.mask(catalog, catalog.num_items - recommender.num_new_items)
    allowed = np.ones(catalog.num_items, dtype=bool) if mask is None else mask.numpy().copy()
    if batch.unwanted is not None:
        unwanted = batch.unwanted[0].numpy()
        allowed[unwanted[unwanted != NO_ITEM]] = False
    return allowed


def _nodes(
    tree: SearchTree, catalog: Catalog, is_allowed: Bool[np.ndarray, " items"]
) -> list[TreeNode]:
    """The nodes of a tree as messages, each with words for the allowed items below."""
    codes: dict[int, tuple[int, ...]] = {NO_STATE: ()}
    nodes = []
    for node in tree.nodes.values():  # parents come first
        codes[node.state] = (*codes[node.parent], node.code) if node.parent != NO_STATE else ()
        own = torch.tensor(codes[node.state], dtype=catalog.semantic_ids.dtype)
        is_below = (catalog.semantic_ids[:, : len(own)].cpu() == own).all(dim=1)
        below = np.flatnonzero(is_below.numpy() & is_allowed)
        if catalog.popularity is not None:
            below = below[np.argsort(-catalog.popularity[below], kind="stable")]
        first = below[:_WORDS].astype(np.int64)
        nodes.append(
            TreeNode(
                node=node.state,
                parent=None if node.parent == NO_STATE else node.parent,
                code=None if node.parent == NO_STATE else node.code,
                depth=node.depth,
                score=node.score,
                log_prob=node.log_prob,
                rank=node.rank,
                fate=node.fate,
                num_items=len(below),
                words=catalog.ids_of(first) if catalog.texts is None else catalog.titles_of(first),
            )
        )
    return nodes
