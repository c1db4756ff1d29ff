"""Writing of bundles: the files of a folder, a manifest with their hashes, and the card."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from sidestep.baselines.fitted import FittedRecommender
from sidestep.bundle.card import write_card
from sidestep.bundle.layout import CARD, CATALOG, TOKENIZER, USERS, WEIGHTS
from sidestep.bundle.manifest import MANIFEST, SCHEMA_VERSION, Manifest, library_versions
from sidestep.bundle.networks import (
    Network,
    description_of,
    plain_weights,
    tokenizer_of,
    weights_of,
)
from sidestep.bundle.parts import PARTS
from sidestep.bundle.users import write_users
from sidestep.catalog.catalog import Catalog
from sidestep.data.histories import Histories
from sidestep.data.users import UserTable
from sidestep.files import check_replaceable, file_sha256, whole_folder, write_json

COUNTS = "counts"


def write_bundle(
    path: Path,
    manifest: Manifest,
    catalog: Catalog,
    *,
    network: Network | None,
    counts: np.ndarray | None,
    fitted: FittedRecommender | None,
    parts: Mapping[str, nn.Module],
    users: Histories | None,
    user_info: UserTable | None,
) -> None:
    """Writes a bundle, whole or not at all; an older bundle at `path` is replaced.

    Args:
        path: the folder.
        manifest: of the bundle as it was loaded or trained; its hashes and versions are set anew.
        catalog: on the CPU.
        network: None for a bundle of counts.
        counts, fitted: the counts, or the fitted recommender, of a bundle without a network.
        parts: those beside the network, by name.
        users: the histories of known users.
        user_info: what describes the known users.

    Raises:
        ValueError: something else stands at `path`.
    """
    check_bundle_place(path)
    with whole_folder(path) as folder:
        if network is not None:
            save_file(weights_of(network), folder / WEIGHTS)
            tokenizer = tokenizer_of(network)
            if tokenizer is not None:
                (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        elif fitted is not None:
            arrays = fitted.arrays()
            kept = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
            save_file(kept, folder / WEIGHTS)
        else:
            whole = np.ascontiguousarray(counts)
            save_file({COUNTS: torch.from_numpy(whole)}, folder / WEIGHTS)
        for name, module in parts.items():
            save_file(plain_weights(module), folder / PARTS[name].file)
        if users is not None:
            write_users(folder / USERS, users, user_info)
        catalog.save(folder / CATALOG)
        # What was loaded may be of an older schema, and may have grown since.
        of_today = {
            "schema_version": SCHEMA_VERSION,
            "model": description_of(network),
            "catalog_version": catalog.version,
            "libraries": library_versions(manifest.kind),
            "files": {
                file.relative_to(folder).as_posix(): file_sha256(file)
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            },
        }
        made = manifest.model_copy(update=of_today)
        write_json(folder / MANIFEST, made.model_dump(mode="json"))
        write_card(folder)


def check_bundle_place(path: Path) -> None:
    """Raises a `ValueError` where no bundle can be written: something else stands there."""
    files = (WEIGHTS, TOKENIZER, USERS, *(part.file for part in PARTS.values()))
    check_replaceable(
        path,
        "a bundle",
        lambda folder: (folder / MANIFEST).is_file(),
        (MANIFEST, *files, CATALOG, CARD),
    )
