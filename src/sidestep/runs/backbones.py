"""Backbones: trained networks, found by a configuration, beside which something is trained."""

from pathlib import Path

from sidestep.bundle.folder import load
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.catalog.catalog import Catalog
from sidestep.data.dataset import Dataset
from sidestep.model.transformer import Transformer
from sidestep.runs.config import BackboneRun, ProcessRewardRun
from sidestep.runs.folder import RunFolder
from sidestep.runs.provenance import refuse_other_data


def load_backbone(
    config: BackboneRun, dataset: Dataset, catalog: Catalog | None, *, out: Path
) -> LoadedRecommender:
    """The bundle that a configuration names, on the CPU.

    Args:
        config: names it.
        dataset: must be the one it was trained on.
        catalog: must be its own, where one is given.
        out: the folder of the run that is to be trained.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it does not fit, or would be overwritten; says what to do.
    """
    path = Path(config.backbone)
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
    if isinstance(config, ProcessRewardRun) and not isinstance(loaded.network, Transformer):
        raise ValueError(
            f"backbone: {path} is {loaded.kind}, and a process reward model reads the state after "
            "each past item, which only the native Transformer gives; name a run of kind "
            "transformer."
        )
    if not loaded.is_searched:
        raise ValueError(
            f"backbone: {path} is {loaded.kind}, which has no prefixes of semantic IDs to learn "
            "from; name a run of kind transformer."
        )
    refuse_other_data(loaded, dataset)
    if catalog is not None and catalog.version != loaded.catalog.version:
        raise ValueError(
            f"--catalog is version {catalog.version[:12]}, but the backbone {path} was trained on "
            f"{loaded.catalog.version[:12]}; leave the option out."
        )
    return loaded


def catalog_of_backbone(config: BackboneRun) -> str | None:
    """The catalog's folder as the run of the backbone was given it; None for a mere bundle.

    Raises:
        ValueError: the run's description of itself is damaged; says what to do.
    """
    folder = RunFolder(Path(config.backbone))
    return folder.info().catalog if folder.is_run() else None
