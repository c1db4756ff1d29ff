"""The folder of a bundle: a new bundle is saved here, and any bundle is loaded.

The folder holds `manifest.json`, the weights and the catalog, and nothing that has to be unpickled.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sidestep.baselines.fitted import FittedRecommender
from sidestep.bundle.columns import MissingColumnsError
from sidestep.bundle.fitted_kinds import fitted_of_kind, kind_of_fitted
from sidestep.bundle.layout import CATALOG, LISTED, TOKENIZER, USERS, WEIGHTS
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import (
    COUNTED,
    FORMAT,
    MANIFEST,
    REMEDY,
    SCHEMA_VERSION,
    KeptSearch,
    Manifest,
    bundle_folder,
    read_manifest,
)
from sidestep.bundle.networks import (
    Network,
    build_network,
    description_of,
    kind_of,
    leave_in_file,
)
from sidestep.bundle.parts import PARTS
from sidestep.bundle.users import read_user_info, read_users
from sidestep.bundle.writing import COUNTS
from sidestep.catalog.catalog import Catalog
from sidestep.catalog.stored import CATALOG_FILES
from sidestep.files import (
    file_sha256,
    refuse_link_outside,
)
from sidestep.import_paths import imported, is_import_path
from sidestep.model.semantic_id_model import SemanticIdModel


def save_bundle(
    path: Path,
    *,
    network: Network | None,
    catalog: Catalog,
    max_history: int,
    seed: int,
    counts: np.ndarray | None = None,
    fitted: FittedRecommender | None = None,
    counted: Literal["popularity", "repeats"] = "popularity",
    training: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    search: KeptSearch | None = None,
) -> None:
    """Writes a new bundle, whole or not at all; an older bundle at `path` is replaced.

    Args:
        path: the folder.
        network: the one that recommends; None makes a bundle that recommends by `counts`, or by a
            fitted recommender.
        catalog: item IDs, semantic IDs and texts; the one the network was trained on.
        max_history: see `Manifest`.
        seed: of the training.
        counts: target events per item in training, or the sum of their weights.
        fitted: a recommender without a network, of Sidestep or of a user's own.
        counted: the kind of a bundle of counts.
        training: a summary, as JSON.
        data: name and hashes of the dataset, as JSON.
        search: that the bundle recommends by, unless another is given; None: a plain beam.

    Raises:
        ValueError: not exactly one of network, counts and recommender is given, or something else
            stands at `path`.
    """
    if sum(each is not None for each in (network, counts, fitted)) != 1:
        raise ValueError(
            "a bundle holds either a network, counts or a fitted recommender; give one of them."
        )
    kind = counted if network is None else kind_of(network)
    manifest = Manifest(
        format=FORMAT,
        schema_version=SCHEMA_VERSION,
        kind=kind if fitted is None else kind_of_fitted(fitted),
        model=description_of(network),
        max_history=max_history,
        seed=seed,
        training=dict(training or {}),
        data=dict(data or {}),
        search=search or KeptSearch(),
        catalog_version=catalog.version,
        libraries={},
        files={},
    )
    LoadedRecommender(
        manifest=manifest,
        catalog=catalog,
        network=network,
        counts=counts,
        fitted=fitted,
        device=torch.device("cpu"),
    ).save(path)


def load(
    path: Path | str,
    *,
    device: torch.device | str | None = None,
    verify: bool = True,
    maps_weights: bool = False,
) -> LoadedRecommender:
    """Loads a bundle, or the bundle of a training run.

    Args:
        path: the folder that `save_bundle` wrote, or one that holds it as `bundle`.
        device: where to compute; None takes the GPU if there is one.
        verify: compare the hash of every file; without it, large catalogs load at once.
        maps_weights: on a CPU, leave the weights in the mapped file, so that the processes of one
            machine share them in memory. The files must then stay as they are while the
            recommender lives.

    Raises:
        FileNotFoundError: there is no bundle, or one of its files is gone.
        ValueError: it was written by a newer version, it is damaged, or there is no such device.
        ImportError: it holds a Hugging Face model, and the extra `hf` is not installed.
    """
    chosen = _chosen_device(device)
    folder = bundle_folder(Path(path))
    manifest, catalog = read_checked(folder, verify=verify)
    if is_import_path(manifest.kind):
        _refuse_unknown_class(folder / MANIFEST, manifest.kind)
    with _must_fit(folder / WEIGHTS):
        weights = load_file(folder / WEIGHTS)
        network = counts = None
        fitted = _fitted(manifest, weights, catalog.num_items)
        if manifest.kind in COUNTED:
            counts = _counts(weights, catalog.num_items)
        elif fitted is None:
            network = build_network(manifest.kind, manifest.model, catalog, weights)
            if (folder / TOKENIZER).is_file():
                of_language: Any = network
                of_language.tokenizer = (folder / TOKENIZER).read_text(encoding="utf-8")
    is_mapped = maps_weights and chosen.type == "cpu"
    if is_mapped and network is not None:
        leave_in_file(network, weights)
    parts = {}
    for name, kept in manifest.parts.items():
        with _must_fit(folder / PARTS[name].file):
            own = load_file(folder / PARTS[name].file)
            parts[name] = PARTS[name].build(_config_of(kept), network, catalog, own)
        if is_mapped:
            leave_in_file(parts[name], own)
    users = user_info = None
    if (folder / USERS).is_file():
        user_info = read_user_info(folder / USERS)
        users = read_users(folder / USERS, catalog.num_items)
    for module in (network, *parts.values()):
        if module is not None:
            module.to(chosen)
    catalog = catalog.to(chosen)
    if isinstance(network, SemanticIdModel):  # the codes lie on the device once
        network = network.with_semantic_ids(catalog.semantic_ids)
    return LoadedRecommender(
        manifest=manifest,
        catalog=catalog,
        network=network,
        parts=parts,
        users=users,
        user_info=user_info,
        counts=counts,
        fitted=fitted,
        device=chosen,
    )


def read_checked(folder: Path, *, verify: bool = True) -> tuple[Manifest, Catalog]:
    """Reads the manifest and the catalog of a bundle, and checks its files; makes no network.

    Args:
        folder: of the bundle.
        verify: see `load`.

    Raises:
        FileNotFoundError: a file is gone.
        ValueError: the bundle was written by a newer version, or is damaged.
    """
    manifest = read_manifest(folder / MANIFEST)
    _check_listed(folder, manifest)
    for name, sha256 in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing from the bundle; {REMEDY}")
        refuse_link_outside(file, folder)
        if verify and file_sha256(file) != sha256:
            raise ValueError(f"{file}: not the file that {MANIFEST} describes; {REMEDY}")
    catalog = Catalog.load(folder / CATALOG)
    if verify:  # the hashes were those of the manifest above, which may be as false as the files
        catalog.refuse_damage(folder / CATALOG)
    if catalog.version != manifest.catalog_version:
        raise ValueError(
            f"{folder / CATALOG}: version {catalog.version[:12]}, but the bundle was trained on "
            f"{manifest.catalog_version[:12]}; {REMEDY}"
        )
    return manifest, catalog


def _check_listed(folder: Path, manifest: Manifest) -> None:
    """Holds the files that a manifest lists against those that are read of such a bundle.

    Raises:
        ValueError: one is not listed, so that nobody would notice a change of it; or one is that
            no bundle holds.
    """
    beside = {part.file: part.name in manifest.parts for part in PARTS.values()}
    of_catalog = {f"{CATALOG}/{name}" for name in CATALOG_FILES}
    read = {
        WEIGHTS,
        *(name for name, is_kept in beside.items() if is_kept),
        *(name for name in {*of_catalog, TOKENIZER, USERS} if (folder / name).is_file()),
    }
    for name in sorted(read - manifest.files.keys()):
        raise ValueError(
            f"{folder / MANIFEST}: does not list {name}, which belongs to the bundle; {REMEDY}"
        )
    for name in sorted(manifest.files.keys() - LISTED):
        raise ValueError(f"{folder / MANIFEST}: lists {name!r}, which no bundle holds; {REMEDY}")


def _refuse_unknown_class(file: Path, kind: str) -> None:
    """Raises a `ValueError` that names the manifest if Python does not find the class of a kind."""
    try:
        imported(kind)
    except ValueError as error:
        raise ValueError(f"{file}: kind: {error}") from error


def _fitted(
    manifest: Manifest, weights: Mapping[str, Tensor], num_items: int
) -> FittedRecommender | None:
    """The fitted recommender of a bundle; None where the bundle holds none."""
    made_of = fitted_of_kind(manifest.kind)
    if made_of is None:
        return None
    arrays = {name: array.numpy() for name, array in weights.items()}
    return made_of.from_arrays(arrays, num_items, max_history=manifest.max_history)


def _counts(weights: dict[str, Tensor], num_items: int) -> np.ndarray:
    """The counts of a bundle without a network, or the sums of weights."""
    counts = weights.get(COUNTS)
    if counts is None or counts.shape != (num_items,) or not _are_counts(counts):
        raise ValueError(f"there are no counts of {num_items:,} items in the file")
    found: np.ndarray = counts.numpy()
    return found


def _are_counts(counts: Tensor) -> bool:
    """Whether all values are finite numbers from 0 on."""
    return not counts.is_complex() and bool((counts.isfinite() & (counts >= 0)).all())


def _config_of(kept: Any) -> BaseModel:
    """The configuration of the module of a part."""
    config: BaseModel = kept.model
    return config


@contextmanager
def _must_fit(file: Path) -> Iterator[None]:
    """Names the file in an error about weights, and the catalog in one about its texts."""
    try:
        yield
    except MissingColumnsError as error:
        raise ValueError(f"{file.parent / CATALOG}: {error}") from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{file}: its weights do not fit {MANIFEST} ({error}); train it again."
        ) from error


def _chosen_device(device: torch.device | str | None) -> torch.device:
    has_gpu = torch.cuda.is_available()
    chosen = torch.device(device or ("cuda" if has_gpu else "cpu"))
    if chosen.type == "cuda" and not has_gpu:
        raise ValueError(
            f'device is "{chosen}", but there is no usable GPU here; pass device="cpu" or omit it, '
            "or install a build of PyTorch for your GPU."
        )
    return chosen
