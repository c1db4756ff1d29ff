"""The folder of a bundle: how it is written, and how it is loaded.

It holds `manifest.json`, the weights and the catalog, and nothing that has to be unpickled.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sidestep.bundle.beside import build_process_reward, build_value_head, refuse_misfit
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import (
    FORMAT,
    MANIFEST,
    SCHEMA_VERSION,
    KeptProcessReward,
    KeptValueHead,
    Manifest,
    ValueUse,
    library_versions,
    read_manifest,
)
from sidestep.bundle.networks import (
    Network,
    build_network,
    description_of,
    kind_of,
    plain_weights,
    weights_of,
)
from sidestep.catalog.catalog import Catalog
from sidestep.files import check_replaceable, file_sha256, whole_folder, write_json
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.value_head import ValueHead
from sidestep.search.scorer import GuidanceConfig

_WEIGHTS = "model.safetensors"
_PROCESS_REWARD = "process_reward.safetensors"
_VALUE_HEAD = "value_head.safetensors"
CATALOG = "catalog"
_COUNTS = "counts"


def save_bundle(
    path: Path,
    *,
    network: Network | None,
    catalog: Catalog,
    max_history: int,
    seed: int,
    counts: np.ndarray | None = None,
    training: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    num_new_items: int = 0,
    process_reward: ProcessRewardModel | None = None,
    guidance: GuidanceConfig | None = None,
    value_head: ValueHead | None = None,
    value_use: ValueUse | None = None,
) -> None:
    """Writes a bundle, whole or not at all; an older bundle at `path` is replaced.

    Args:
        path: the folder.
        network: what recommends; None makes a popularity bundle of `counts`.
        catalog: item IDs, semantic IDs and texts; the one the network was trained on.
        max_history: see `Manifest`.
        seed: of the training.
        counts: interactions per item in training, for popularity.
        training: a summary, as JSON.
        data: name and hashes of the dataset, as JSON.
        num_new_items: see `Manifest`.
        process_reward: what can guide the search of the network.
        guidance: of the search by which its weights were chosen; None is the default.
        value_head: what says what prefixes of the network promise.
        value_use: how it is meant to be used; None is the default.

    Raises:
        ValueError: a network and counts or neither, a process reward model or a value head of
            another catalog, or something else stands at `path`.
    """
    if (network is None) == (counts is None):
        raise ValueError("a bundle holds either a network or counts; give one of the two.")
    refuse_misfit(network, catalog.trie, process_reward=process_reward, value_head=value_head)
    check_replaceable(
        path,
        "a bundle",
        lambda folder: (folder / MANIFEST).is_file(),
        (MANIFEST, _WEIGHTS, _PROCESS_REWARD, _VALUE_HEAD, CATALOG),
    )
    kind = kind_of(network)
    with whole_folder(path) as folder:
        if network is not None:
            save_file(weights_of(network), folder / _WEIGHTS)
        else:
            assert counts is not None
            save_file({_COUNTS: torch.from_numpy(np.ascontiguousarray(counts))}, folder / _WEIGHTS)
        for file, module in ((_PROCESS_REWARD, process_reward), (_VALUE_HEAD, value_head)):
            if module is not None:
                save_file(plain_weights(module), folder / file)
        catalog.save(folder / CATALOG)
        manifest = Manifest(
            format=FORMAT,
            schema_version=SCHEMA_VERSION,
            kind=kind,
            model=description_of(network),
            max_history=max_history,
            num_new_items=num_new_items,
            process_reward=_kept_process_reward(process_reward, guidance),
            value_head=_kept_value_head(value_head, value_use),
            seed=seed,
            training=dict(training or {}),
            data=dict(data or {}),
            catalog_version=catalog.version,
            libraries=library_versions(kind),
            files={
                file.relative_to(folder).as_posix(): file_sha256(file)
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        )
        write_json(folder / MANIFEST, manifest.model_dump(mode="json"))


def save_loaded(path: Path, loaded: LoadedRecommender) -> None:
    """Writes a recommender as a bundle again, for example after items were appended or retired."""
    save_bundle(
        path,
        network=loaded.network,
        catalog=loaded.catalog.to("cpu"),
        max_history=loaded.max_history,
        seed=loaded.manifest.seed,
        counts=loaded.counts,
        training=loaded.manifest.training,
        data=loaded.manifest.data,
        num_new_items=loaded.manifest.num_new_items,
        process_reward=loaded.process_reward,
        guidance=loaded.guidance,
        value_head=loaded.value_head,
        value_use=loaded.value_use,
    )


def _kept_process_reward(
    network: ProcessRewardModel | None, guidance: GuidanceConfig | None
) -> KeptProcessReward | None:
    if network is None:
        return None
    return KeptProcessReward(model=network.config, guidance=guidance or GuidanceConfig())


def _kept_value_head(head: ValueHead | None, use: ValueUse | None) -> KeptValueHead | None:
    if head is None:
        return None
    use = use or ValueUse()
    return KeptValueHead(model=head.config, guidance=use.guidance, gamma=use.gamma)


def load(
    path: Path | str, *, device: torch.device | str | None = None, verify: bool = True
) -> LoadedRecommender:
    """Loads a bundle, or the bundle of a training run.

    Args:
        path: the folder that `save_bundle` wrote, or one that holds it as `bundle`.
        device: where to compute; None takes the GPU if there is one.
        verify: compare the hash of every file; without it, large catalogs load at once.

    Raises:
        FileNotFoundError: there is no bundle, or one of its files is gone.
        ValueError: it was written by a newer version, it is damaged, or there is no such device.
        ImportError: it holds a Hugging Face model, and the extra `hf` is not installed.
    """
    chosen = _chosen_device(device)
    folder = bundle_folder(Path(path))
    manifest = read_manifest(folder / MANIFEST)
    for name, sha256 in manifest.files.items():
        file = folder / name
        if not file.is_file():
            raise FileNotFoundError(f"{file}: missing from the bundle; copy or train it again.")
        if verify and file_sha256(file) != sha256:
            raise ValueError(
                f"{file}: not the file that {MANIFEST} describes; copy or train it again."
            )
    catalog = Catalog.load(folder / CATALOG)
    if catalog.version != manifest.catalog_version:
        raise ValueError(
            f"{folder / CATALOG}: version {catalog.version[:12]}, but the bundle was trained on "
            f"{manifest.catalog_version[:12]}; copy or train it again."
        )
    with _must_fit(folder / _WEIGHTS):
        weights = load_file(folder / _WEIGHTS)
        network = build_network(manifest.kind, manifest.model, catalog, weights)
    process_reward = value_head = None
    if manifest.process_reward is not None:
        with _read_beside(folder / _PROCESS_REWARD, network) as (backbone, own):
            shape = manifest.process_reward.model
            process_reward = build_process_reward(shape, backbone, catalog.trie, own)
    if manifest.value_head is not None:
        with _read_beside(folder / _VALUE_HEAD, network) as (backbone, own):
            value_head = build_value_head(manifest.value_head.model, backbone, catalog.trie, own)
    for module in (network, process_reward, value_head):
        if module is not None:
            module.to(chosen)
    return LoadedRecommender(
        manifest=manifest,
        catalog=catalog.to(chosen),
        network=network,
        process_reward=process_reward,
        value_head=value_head,
        counts=weights[_COUNTS].numpy() if network is None else None,
        device=chosen,
    )


@contextmanager
def _read_beside(
    file: Path, network: Network | None
) -> Iterator[tuple[SemanticIdModel, dict[str, Tensor]]]:
    """The network and the weights of what was trained beside it, which must fit each other."""
    if not isinstance(network, SemanticIdModel):
        raise ValueError(
            f"{file}: the network of this bundle has no states that it could read; train it again."
        )
    with _must_fit(file):
        yield network, load_file(file)


@contextmanager
def _must_fit(file: Path) -> Iterator[None]:
    """Says of which file the weights are that do not fit."""
    try:
        yield
    except (SafetensorError, RuntimeError, ValidationError) as error:
        raise ValueError(
            f"{file}: its weights do not fit {MANIFEST} ({error}); train it again."
        ) from error


def bundle_folder(path: Path) -> Path:
    """Where the bundle lies: `path`, or the folder `bundle` of a run.

    Raises:
        FileNotFoundError: neither is one.
    """
    for folder in (path, path / "bundle"):
        if (folder / MANIFEST).is_file():
            return folder
    raise FileNotFoundError(
        f"{path}: no bundle here, {MANIFEST} is missing; train first, or name the folder of a "
        "finished run."
    )


def _chosen_device(device: torch.device | str | None) -> torch.device:
    has_gpu = torch.cuda.is_available()
    chosen = torch.device(device or ("cuda" if has_gpu else "cpu"))
    if chosen.type == "cuda" and not has_gpu:
        raise ValueError(
            f'device is "{chosen}", but there is no usable GPU here; pass device="cpu" or omit it, '
            "or install a build of PyTorch for your GPU."
        )
    return chosen
