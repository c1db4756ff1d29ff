"""Parts of plans that several kinds of run share: data, trainings of policies, and bundles."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from sidestep.baselines.fitted import FittedRecommender
from sidestep.bundle.columns import with_categories, with_user_columns, with_values
from sidestep.bundle.folder import save_bundle
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.own_space import SETS
from sidestep.data.popularity import weighted_target_counts
from sidestep.data.splits import Split
from sidestep.data.windows import Windows
from sidestep.model.config import TiedItemConfig, TransformerConfig
from sidestep.model.reading import WEIGHTS_NEED_ITEMS
from sidestep.recommender import GenerativeRecommender
from sidestep.runs.backbones import network_of
from sidestep.runs.catalogs import flat_catalog
from sidestep.runs.chosen_search import ChosenSearch
from sidestep.runs.plan import Given, Material, Origin, Plan
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import whole_space
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.fit import Learning, weights_sha256
from sidestep.training.head_distillation import HeadDistillationObjective
from sidestep.training.preference import PreferenceObjective
from sidestep.training.thought_rewards import ThoughtRewardObjective

M = TypeVar("M", TransformerConfig, TiedItemConfig)

Save = Callable[[Path, Origin], None]
"""A function that writes a bundle into a folder."""


def material_beside(
    given: Given, backbone: LoadedRecommender, *, needs_trie: bool = True
) -> Material:
    """The data of a run beside a backbone: catalog and length of histories are the backbone's.

    Args:
        given: the dataset and its split.
        backbone: the bundle.
        needs_trie: whether the training reads prefixes, which only a trie has.

    Raises:
        ValueError: inputs have weights, and the backbone has no place for them, the dataset lacks a
            column of users that the backbone reads, or the codes of its catalog span no trie.
    """
    if needs_trie:
        backbone.catalog.refuse_own_space("a training beside a backbone")
    refuse_unread_weights(given.split, reads_weights=network_of(backbone).reader.reads_weights)
    split = with_user_columns(given.split, backbone.user_columns, given.dataset.users)
    return Material(split, backbone.catalog, backbone.max_history)


def item_material_beside(given: Given, backbone: LoadedRecommender) -> Material:
    """The data of a run that goes on from a network over item IDs, which reads weights and times.

    Raises:
        ValueError: the dataset lacks times or a column of users that the backbone reads.
    """
    refuse_missing_times(given.split, reads_times=backbone.reads_times)
    split = with_user_columns(given.split, backbone.user_columns, given.dataset.users)
    return Material(split, backbone.catalog, backbone.max_history)


def improved_material(given: Given, backbone: LoadedRecommender) -> Material:
    """The data of a run that improves a policy over semantic IDs or over sets of codes.

    Raises:
        ValueError: the codes span a space of a user's own; or see `material_beside`.
    """
    of_sets = backbone.catalog.space == SETS
    return material_beside(given, backbone, needs_trie=not of_sets)


def refuse_unread_weights(split: Split, *, reads_weights: bool) -> None:
    """Raises a `ValueError` where inputs have weights that the network has no place for."""
    if split.scales_inputs and not reads_weights:
        raise ValueError(WEIGHTS_NEED_ITEMS)


def refuse_missing_times(split: Split, *, reads_times: bool) -> None:
    """Raises a `ValueError` where a network is to read times, and the data have none."""
    if reads_times and split.train.histories.timestamps is None:
        raise ValueError(
            "model.times reads the gaps between events, and the interactions have no times; import "
            "them with their times, or leave model.times out."
        )


def with_known_values(model: M, given: Given) -> M:
    """The shape of a network with the values of its columns, which the data of a run have.

    Raises:
        ValueError: items or users lack a column, or a column holds no value that is frequent
            enough.
    """
    known: dict[str, object] = {}
    if model.item_columns is not None:
        items = given.dataset.items.frame.drop("item_id")
        known["item_columns"] = with_values(model.item_columns, items, setting="model.item_columns")
    head = model.category_head if isinstance(model, TransformerConfig) else None
    if head is not None:
        texts = given.dataset.items.frame.drop("item_id")
        known["category_head"] = with_categories(head, texts)
    if model.user_columns is not None:
        table = given.dataset.users
        if table is None:
            raise ValueError(
                "model.user_columns reads columns of users, and the dataset has no table of users; "
                "import it with its users, or leave model.user_columns out."
            )
        users = table.frame.drop("user_id")
        known["user_columns"] = with_values(model.user_columns, users, setting="model.user_columns")
    return model.model_copy(update=known) if known else model


def refuse_lone_leaf(catalog: Catalog) -> None:
    """Raises a `ValueError` for a catalog of one leaf, in which every search finds the same."""
    codes = catalog.semantic_ids
    if bool((codes == codes[:1]).all()):
        raise ValueError(
            "all items of the catalog share one semantic ID, so that a search has nothing to "
            "choose from and nothing would be learned; tokenize with --collisions extra."
        )


def counting(given: Given, kind: Literal["popularity", "repeats"], max_history: int) -> Plan:
    """The plan of a run that counts the training part, and trains nothing."""
    catalog = given.catalog or flat_catalog(given.dataset, given.split)
    material = Material(given.split, catalog, max_history)

    def save(path: Path, origin: Origin) -> None:
        save_bundle(
            path,
            network=None,
            counts=weighted_target_counts(material.split.train.histories, catalog.num_items),
            counted=kind,
            catalog=catalog,
            max_history=max_history,
            seed=origin.seed,
            training=origin.training,
            data=origin.data,
        )

    return Plan(material=material, save=save)


def fitting(
    given: Given,
    fit: Callable[[Material], FittedRecommender],
    max_history: int,
    *,
    about: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a run that fits a recommender on the training part, without a network.

    Args:
        given: the dataset and its split.
        fit: makes the recommender.
        max_history: most recent items of a history that lists follow.
        about: more lines of the bundle about what the recommender was made of, as JSON.
    """
    catalog = given.catalog or flat_catalog(given.dataset, given.split)
    material = Material(given.split, catalog, max_history)

    def save(path: Path, origin: Origin) -> None:
        save_bundle(
            path,
            network=None,
            fitted=fit(material),
            catalog=catalog,
            max_history=max_history,
            seed=origin.seed,
            training={**origin.training, **(about or {})},
            data=origin.data,
        )

    return Plan(material=material, save=save)


def policy_learning(
    material: Material,
    objective: AlignmentObjective
    | PreferenceObjective
    | HeadDistillationObjective[Any]
    | ThoughtRewardObjective,
    windows: Windows,
    *,
    num_beams: int,
    about: Mapping[str, Any] | None = None,
) -> Learning:
    """The training of a policy on rewards, preferences or a teacher.

    The best weights are chosen by plain beam search, whatever the objective searches by.

    Args:
        material: the data.
        objective: holds the policy, and a value head if that learns too.
        windows: the prompts.
        num_beams: beams of the search that validates.
        about: what else the training depends on, as JSON; a resumed run must have the same.
    """
    catalog, search = material.catalog, BeamSearch(num_beams=num_beams)
    head = objective.head if isinstance(objective, AlignmentObjective) else None
    return Learning(
        network=objective,
        objective=objective,
        windows=windows,
        validation=material.split.validation,
        recommender=lambda device: GenerativeRecommender(
            objective.policy,
            whole_space(catalog.to(device).spanned),
            search,
            max_history=material.max_history,
        ),
        about={
            "kind": type(objective).__name__,
            "catalog": material.catalog.version,
            "policy": weights_sha256(objective.policy.state_dict()),
            "head": None if head is None else weights_sha256(head.state_dict()),
            "config": objective.config.model_dump(mode="json"),
            "sources": dict(about or {}),
            "max_history": material.max_history,
        },
    )


def saving_new(
    material: Material,
    network: Any,
    *,
    choose: Callable[[], ChosenSearch] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Save:
    """The function that saves a newly trained network.

    Args:
        material: the data.
        network: the one that the plan trains.
        choose: chooses the search that the bundle recommends by, after the training; None is a
            plain beam.
        about: more lines of the bundle about what the network was made of, as JSON.
    """

    def save(path: Path, origin: Origin) -> None:
        chosen = None if choose is None else choose()
        save_bundle(
            path,
            network=network,
            catalog=material.catalog,
            max_history=material.max_history,
            seed=origin.seed,
            training={
                **origin.training,
                **(about or {}),
                **({} if chosen is None else chosen.summary),
            },
            data=origin.data,
            search=None if chosen is None else chosen.search,
        )

    return save


def saving_beside(made: Callable[[], LoadedRecommender]) -> Save:
    """The function that saves a backbone with its new part, and with all parts that it had.

    Args:
        made: gives the recommender after the training. Its manifest still tells of the training of
            the backbone.
    """

    def save(path: Path, origin: Origin) -> None:
        recommender = made()
        before = recommender.manifest
        # The answers took both trainings.
        seconds = origin.training["seconds"] + before.training.get("seconds", 0.0)
        training = {
            **origin.training,
            "seconds": seconds,
            "backbone": {"seed": before.seed, **before.training},
        }
        of_this_run = {"seed": origin.seed, "training": training, "data": origin.data}
        replace(recommender, manifest=before.model_copy(update=of_this_run)).save(path)

    return save
