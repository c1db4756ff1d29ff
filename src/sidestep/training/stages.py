"""Stages: from a split and a catalog to a trained network, one function per kind.

Each builds the network, its objective, the windows and the validation, and hands them to the one
loop; there is no second loop here.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from sidestep.baselines.item_scores import SasRecRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.data.splits import Rows, Split
from sidestep.data.windows import Windows, training_windows
from sidestep.evaluation.evaluator import evaluate, fixed_users
from sidestep.model.config import (
    ProcessRewardConfig,
    SasRecConfig,
    TransformerConfig,
    ValueHeadConfig,
)
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValuedModel, ValueHead
from sidestep.recommender import GenerativeRecommender, Recommender
from sidestep.search.beam import BeamSearch
from sidestep.search.config import GuidanceConfig
from sidestep.search.guided_beam import GuidedBeamSearch
from sidestep.search.policy import SearchPolicy
from sidestep.search.process_reward import ProcessReward
from sidestep.search.scorer import Guidance
from sidestep.search.value_beam import ValueBeamSearch
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.config import VALIDATION_METRIC, TrainingConfig, ValidationConfig
from sidestep.training.loop import train
from sidestep.training.objective import Objective
from sidestep.training.objective_config import (
    NextCodeConfig,
    NextItemConfig,
    PreferenceConfig,
    ProcessRewardTrainingConfig,
    ValueTrainingConfig,
)
from sidestep.training.preference import PreferenceObjective
from sidestep.training.process_reward import ProcessRewardObjective
from sidestep.training.progress import Progress, TrainingResult, Validated
from sidestep.training.untrained import (
    new_process_reward,
    new_sasrec,
    new_transformer,
    new_value_head,
)

N = TypeVar("N", bound=nn.Module)
P = TypeVar("P", AlignmentObjective, PreferenceObjective)

_CUTOFFS = (10, 50)
_TOLD = ("HR@1", "HR@10", "HR@50", "NDCG@10", "coverage", "diversity")
"""Of every validation, in the log: a score that rises may hide a list that narrows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training goes, whatever is trained.

    training: by which steps.
    max_history: most recent items shown, in training and in validation.
    folder: of the run, see `loop.train`.
    seed: of initial weights, shuffling and dropout.
    validation: how the weights are chosen.
    resume: continue an interrupted run in `folder`.
    report: called after every step, see `loop.train`.
    """

    training: TrainingConfig
    max_history: int
    folder: Path
    seed: int
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    resume: bool = False
    report: Callable[[Progress], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained(Generic[N]):
    """A network with its best weights, in `eval` mode on the training device."""

    network: N
    result: TrainingResult


def train_semantic_id_model(
    split: Split,
    catalog: Catalog,
    *,
    model: TransformerConfig,
    objective: NextCodeConfig,
    course: Course,
) -> Trained[Transformer]:
    """Trains a Transformer to write the next item's semantic ID; validates by beam search.

    Args:
        split: its training part is learned from, its validation rows choose the weights.
        catalog: the semantic IDs; its item indices are those of the split.
        model: shape of the network.
        objective: what is lowered.
        course: how the training goes.

    Raises:
        ValueError: see `loop.train`; also where split, catalog and configurations do not fit.
    """
    _check_items(split, catalog.num_items)
    windows = training_windows(split.train, course.max_history)
    network, lowered = new_transformer(catalog, model, objective, windows, seed=course.seed)
    policy = BeamSearch(num_beams=course.validation.num_beams)

    def recommender(device: torch.device) -> Recommender:
        return GenerativeRecommender(
            network, catalog.trie.to(device), policy, max_history=course.max_history
        )

    result = _train(
        lowered,
        recommender,
        split,
        course,
        about={
            "kind": "semantic-id-transformer",
            "catalog": catalog.version,
            "model": model.model_dump(mode="json"),
            "objective": objective.model_dump(mode="json"),
        },
        windows=windows,
    )
    return Trained(network=network, result=result)


def train_sasrec(
    split: Split,
    num_items: int,
    *,
    model: SasRecConfig,
    objective: NextItemConfig,
    course: Course,
) -> Trained[SasRec]:
    """Trains SASRec with the full cross-entropy; validates by its ranking of the whole catalog.

    What is not said of an argument is as in `train_semantic_id_model`.

    Args:
        num_items: items of the catalog.

    Raises:
        ValueError: see `loop.train`; also if `max_history` is more than the network can see, or
            the split names an item outside the catalog.
    """
    _check_items(split, num_items)
    windows = training_windows(split.train, course.max_history)
    network, lowered = new_sasrec(
        num_items, model, objective, windows, max_history=course.max_history, seed=course.seed
    )

    def recommender(device: torch.device) -> Recommender:
        return SasRecRecommender(network, max_history=course.max_history)

    result = _train(
        lowered,
        recommender,
        split,
        course,
        about={
            "kind": "sasrec",
            "model": model.model_dump(mode="json"),
            "objective": objective.model_dump(mode="json"),
        },
        windows=windows,
    )
    return Trained(network=network, result=result)


def train_process_reward(
    split: Split,
    catalog: Catalog,
    backbone: SemanticIdModel,
    *,
    model: ProcessRewardConfig,
    objective: ProcessRewardTrainingConfig,
    guidance: GuidanceConfig,
    course: Course,
) -> Trained[ProcessRewardModel]:
    """Trains a process reward model beside a network that stays as it is, or learns jointly.

    What is not said of an argument is as in `train_semantic_id_model`.

    Args:
        backbone: a trained Transformer on that catalog; with `objective.joint` its weights change.
        guidance: of the search by which the weights are chosen.

    Raises:
        ValueError: see `loop.train`; also where split, catalog and configurations do not fit.
    """
    _check_items(split, catalog.num_items)
    network = new_process_reward(catalog, backbone, model, seed=course.seed)
    policy = GuidedBeamSearch(
        guidance=Guidance(
            scorer=ProcessReward(network=network), likelihood_weight=guidance.likelihood_weight
        ),
        num_beams=course.validation.num_beams,
        candidates=guidance.candidates_per_beam * course.validation.num_beams,
    )

    def recommender(device: torch.device) -> Recommender:
        return GenerativeRecommender(
            backbone.to(device), catalog.trie.to(device), policy, max_history=course.max_history
        )

    result = _train(
        ProcessRewardObjective(network, backbone, catalog.trie, objective),
        recommender,
        split,
        course,
        about={
            "kind": "process-reward",
            "catalog": catalog.version,
            "backbone": _weights_sha256(backbone.state_dict()),
            "model": model.model_dump(mode="json"),
            "objective": objective.model_dump(mode="json"),
            "guidance": guidance.model_dump(mode="json"),
        },
    )
    return Trained(network=network, result=result)


def train_value(
    split: Split,
    catalog: Catalog,
    backbone: SemanticIdModel,
    embeddings: Float[Tensor, "items dim"],
    *,
    model: ValueHeadConfig,
    objective: ValueTrainingConfig,
    policy: SearchPolicy,
    guidance: GuidanceConfig,
    course: Course,
) -> Trained[ValueHead]:
    """Trains a value head on what a search finds, beside a network that stays as it is.

    A TD error judges values by themselves, so the weights are chosen by what a beam search finds
    that goes by them. What is not said of an argument is as in `train_semantic_id_model`.

    Args:
        backbone: a trained network on that catalog.
        embeddings: of every item of the catalog, from a frozen encoder.
        policy: finds the candidates; it may read the values that are being learned.
        guidance: of the search by which the weights are chosen.

    Raises:
        ValueError: see `loop.train`; also where split, catalog and configurations do not fit.
    """
    _check_items(split, catalog.num_items)
    head, lowered = new_value_head(
        catalog, backbone, embeddings, model, objective, policy, seed=course.seed
    )
    search = ValueBeamSearch(
        num_beams=course.validation.num_beams,
        candidates=guidance.candidates_per_beam * course.validation.num_beams,
        likelihood_weight=guidance.likelihood_weight,
    )

    def recommender(device: torch.device) -> Recommender:
        valued = ValuedModel(backbone.to(device), head)
        return GenerativeRecommender(
            valued, catalog.trie.to(device), search, max_history=course.max_history
        )

    result = _train(
        lowered,
        recommender,
        split,
        course,
        about={
            "kind": "value",
            "catalog": catalog.version,
            "backbone": _weights_sha256(backbone.state_dict()),
            "embeddings": _weights_sha256({"": embeddings}),
            "model": model.model_dump(mode="json"),
            "objective": objective.model_dump(mode="json"),
            "policy": repr(policy),
            "guidance": guidance.model_dump(mode="json"),
        },
        windows=value_windows(split, objective, max_history=course.max_history),
    )
    return Trained(network=head, result=result)


def train_policy(
    split: Split,
    catalog: Catalog,
    objective: P,
    *,
    course: Course,
    about: Mapping[str, Any] | None = None,
) -> Trained[P]:
    """Trains a policy further, on rewards or preferences.

    The best weights are chosen by plain beam search, whatever the objective searches by.

    Args:
        split: the rows to learn from and to choose by.
        catalog: the semantic IDs; its item indices are those of the split.
        objective: holds the policy.
        course: how the training goes.
        about: what else the rewards are made from, as JSON; a resumed run must have the same.

    Returns:
        The objective, whose policy, and head if it learned too, have the best weights.

    Raises:
        ValueError: see `loop.train`; also where split and catalog do not fit.
    """
    _check_items(split, catalog.num_items)
    config, search = objective.config, BeamSearch(num_beams=course.validation.num_beams)
    head = objective.head if isinstance(objective, AlignmentObjective) else None

    def recommender(device: torch.device) -> Recommender:
        return GenerativeRecommender(
            objective.policy, catalog.trie.to(device), search, max_history=course.max_history
        )

    result = _train(
        objective,
        recommender,
        split,
        course,
        about={
            "kind": type(objective).__name__,
            "catalog": catalog.version,
            "policy": _weights_sha256(objective.policy.state_dict()),
            "head": None if head is None else _weights_sha256(head.state_dict()),
            "config": config.model_dump(mode="json"),
            "sources": dict(about or {}),
        },
        windows=prompt_windows(split, config, max_history=course.max_history),
    )
    return Trained(network=objective, result=result)


def prompt_windows(
    split: Split, config: AlignmentConfig | PreferenceConfig, *, max_history: int
) -> Windows:
    """The windows whose targets a policy is trained further on."""
    return latest_windows(
        split,
        targets_per_window=config.targets_per_window,
        num_windows=config.num_prompts,
        max_history=max_history,
    )


def value_windows(split: Split, objective: ValueTrainingConfig, *, max_history: int) -> Windows:
    """The windows of a split with the targets that values are learned from."""
    return latest_windows(
        split, targets_per_window=objective.targets_per_window, max_history=max_history
    )


def latest_windows(
    split: Split,
    *,
    targets_per_window: int | None,
    max_history: int,
    num_windows: int | None = None,
) -> Windows:
    """Windows of a split with their latest targets alone.

    Args:
        split: of which the training part is taken.
        targets_per_window: at most; None keeps all.
        max_history: items that precede a target, at most.
        num_windows: so many fixed random ones; None keeps all.
    """
    windows = training_windows(split.train, max_history)
    if targets_per_window is not None:
        latest = windows.lengths - targets_per_window
        windows = replace(windows, first_target=np.maximum(windows.first_target, latest))
    if num_windows is None or num_windows >= len(windows):
        return windows
    return windows.select(fixed_users(len(windows), num_windows))


def _weights_sha256(weights_by_name: Mapping[str, Tensor]) -> str:
    """What tells tensors that are read, but not trained, from others of their shape."""
    digest = hashlib.sha256()
    for name, weights in sorted(weights_by_name.items()):
        digest.update(name.encode())
        digest.update(weights.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _train(
    objective: Objective,
    recommender: Callable[[torch.device], Recommender],
    split: Split,
    course: Course,
    *,
    about: dict[str, Any],
    windows: Windows | None = None,
) -> TrainingResult:
    """What all kinds share: windows, validation by the recommender itself, and the loop.

    Args:
        windows: None takes all targets of the training part.
    """
    rows = _validation_rows(split, course.validation)

    def validate() -> Validated:
        device = next(objective.parameters()).device
        evaluation = evaluate(
            recommender(device),
            rows,
            k=max(k for k in _CUTOFFS if k <= max(course.validation.num_beams, min(_CUTOFFS))),
            batch_size=course.validation.batch_size,
            device=device,
        )
        told = {name: evaluation.metrics[name] for name in _TOLD if name in evaluation.metrics}
        return Validated(score=evaluation.metrics[VALIDATION_METRIC], metrics=told)

    return train(
        objective,
        training_windows(split.train, course.max_history) if windows is None else windows,
        course.training,
        folder=course.folder,
        seed=course.seed,
        # Without validation rows the last weights are kept.
        validate=validate if len(rows) else None,
        resume=course.resume,
        report=course.report,
        about={
            **about,
            "max_history": course.max_history,
            "validation": course.validation.model_dump(mode="json"),
        },
    )


def _validation_rows(split: Split, validation: ValidationConfig) -> Rows:
    if validation.num_users is None or not len(split.validation):
        return split.validation
    return split.validation.select(fixed_users(len(split.validation), validation.num_users))


def _check_items(split: Split, num_items: int) -> None:
    for rows in (split.train, split.validation):
        items = rows.histories.items
        if len(items) and items.max() >= num_items:
            raise ValueError(
                f"the split names item {items.max()}, but the catalog has {num_items} items: they "
                "stem from different datasets; tokenize this dataset."
            )
