"""Backbones: trained networks that a configuration names, and that a run starts from."""

from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import MANIFEST
from sidestep.files import file_sha256
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.notices import warn
from sidestep.runs.config import read_settings
from sidestep.runs.folder import RunFolder
from sidestep.runs.plan import Given
from sidestep.runs.provenance import refuse_other_data

N = TypeVar("N", bound=nn.Module)

_OF_CODES = ("transformer", "language-model", "t5", "code-sets", "code-sets-t5", "stream-rec")
"""The kinds of run that make a network over codes."""


def load_backbone(backbone: str, given: Given) -> LoadedRecommender:
    """The bundle that a configuration names, on the CPU.

    Args:
        backbone: the folder of a run or a bundle.
        given: its dataset must be the one of the backbone's training, and its catalog, if there is
            one, the backbone's own.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the backbone does not fit, or would be overwritten; says what to do.
    """
    loaded = _loaded(backbone, given)
    if not loaded.is_searched:
        raise ValueError(
            f"backbone: {backbone} is {loaded.kind}, which has no prefixes of semantic IDs to "
            "learn from; name a run of kind transformer."
        )
    return loaded


def load_backbone_of(
    network: type[N], backbone: str, given: Given, *, kind: str
) -> tuple[LoadedRecommender, N]:
    """The bundle of a network of one class that a configuration names, and its network.

    Args:
        network: the class of the network.
        backbone, given: see `load_backbone`.
        kind: the kind of run that trains such a network.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another network; or see `load_backbone`.
    """
    loaded = _loaded(backbone, given)
    if not isinstance(loaded.network, network):
        raise ValueError(
            f"backbone: {backbone} is {loaded.kind}; name a run of kind {kind}, which this run "
            "improves."
        )
    return loaded, loaded.network


def _loaded(backbone: str, given: Given) -> LoadedRecommender:
    """The bundle, if it fits the data and is not overwritten."""
    path, out = Path(backbone), given.out
    if out.resolve() in (path.resolve(), path.resolve().parent):
        raise ValueError(f"{out}: is the backbone's own folder; choose another one for --out.")
    if path.resolve() in out.resolve().parents:
        raise ValueError(
            f"{out}: lies within the backbone {path}, which stays as it is; choose another folder "
            "for --out."
        )
    try:
        loaded = load(path, device="cpu")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"backbone: {error}") from error
    refuse_other_data(loaded, given.dataset)
    catalog = given.catalog
    if catalog is not None and catalog.version != loaded.catalog.version:
        raise ValueError(
            f"--catalog is version {catalog.version[:12]}, but the backbone {path} was trained on "
            f"{loaded.catalog.version[:12]}; leave the option out."
        )
    return loaded


def load_teacher(teacher: str, backbone: LoadedRecommender, given: Given) -> LoadedRecommender:
    """The bundle of a network whose item head teaches beside that of a backbone, on the CPU.

    Args:
        teacher: the folder of a run or a bundle. The codes of its items may be others than those of
            the backbone.
        backbone: is shown the histories, so that a teacher cannot read more of users or of times.
        given: its dataset must be the one of the teacher's training.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the teacher has no item head, or does not fit the dataset or the backbone.
    """
    try:
        loaded = load(Path(teacher), device="cpu")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"teachers: {error}") from error
    if loaded.item_scorer is None:
        raise ValueError(
            f"teachers: {teacher} is {loaded.kind} and has no item head; name a run of kind "
            "transformer or code-sets that was trained with model.item_head: true. Put a SASRec or "
            "a graph beside the backbone instead (sidestep attach)."
        )
    refuse_other_data(loaded, given.dataset)
    if not loaded.catalog.item_ids.equals(backbone.catalog.item_ids):
        raise ValueError(
            f"teachers: {teacher} has other items than the backbone, or the items in another "
            "order; train both on one dataset."
        )
    if loaded.user_columns not in (None, backbone.user_columns):
        raise ValueError(
            f"teachers: {teacher} reads other columns of users than the backbone; train both with "
            "the same model.user_columns."
        )
    if loaded.reads_times and not backbone.reads_times:
        raise ValueError(
            f"teachers: {teacher} reads the times of events, and the backbone does not; train both "
            "with model.times."
        )
    if loaded.max_history > backbone.max_history:
        warn(
            f"the teacher {teacher} was trained on {loaded.max_history} past items, and is shown "
            f"the {backbone.max_history} that the backbone reads."
        )
    return loaded


def manifest_sha256(run: str) -> str:
    """The hash of the manifest of a run or a bundle, which is another one for another training."""
    folder = Path(run)
    inner = folder / "bundle"
    return file_sha256((inner if inner.is_dir() else folder) / MANIFEST)


def catalog_of_backbone(backbone: str) -> str | None:
    """The catalog's folder as the run of the backbone was given it; None for a mere bundle.

    Raises:
        ValueError: the run's description of itself is damaged; says what to do.
    """
    folder = RunFolder(Path(backbone))
    return folder.info().catalog if folder.is_run() else None


def network_of(backbone: LoadedRecommender) -> SemanticIdModel:
    """The network of a backbone."""
    assert isinstance(backbone.network, SemanticIdModel)
    return backbone.network


def first_objective(backbone: Path) -> dict[str, Any]:
    """The objective of the first training of a network, also after later runs on top of it.

    Empty where no folder tells. Settings that then do not fit the network are refused elsewhere.

    Args:
        backbone: the folder of a run or a bundle.
    """
    at: str | None = str(backbone)
    while at is not None:
        folder = Path(at)
        file = RunFolder(folder.parent if folder.name == "bundle" else folder).config
        content = read_settings(file) if file.is_file() else {}
        objective = content.get("objective")
        if content.get("kind") in _OF_CODES:
            return objective if isinstance(objective, dict) else {}
        at = content.get("backbone")
    return {}
