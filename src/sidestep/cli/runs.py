"""A run on disk: what it was asked for, what came out, and how commands find it again."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from sidestep.bundle.folder import save_bundle, save_loaded
from sidestep.bundle.loaded import LoadedRecommender
from sidestep.bundle.manifest import KeptProcessReward, KeptValueHead
from sidestep.catalog.catalog import Catalog
from sidestep.cli.backbones import load_backbone
from sidestep.cli.config import (
    AnyRun,
    BesideRun,
    LearnedRun,
    PopularityRun,
    ProcessRewardRun,
    SasRecRun,
    TransformerRun,
    ValueRun,
)
from sidestep.cli.environment import memory_bytes
from sidestep.cli.inputs import (
    fingerprint,
    flat_catalog,
    popularity_of,
    refuse_other_items,
    split_of,
    warn_of_other_split,
)
from sidestep.cli.plain_yaml import read_yaml, write_yaml
from sidestep.data.dataset import Dataset
from sidestep.data.splits import Split
from sidestep.data.windows import Windows, training_windows
from sidestep.embedding.vectors import load_vectors
from sidestep.files import read_json, write_json
from sidestep.model.process_reward import ProcessRewardModel
from sidestep.model.sasrec import SasRec
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.model.value_head import ValueHead
from sidestep.training.checkpoint import checkpoints, refuse_other_run
from sidestep.training.loop import (
    RESUMABLE,
    Progress,
    TrainingResult,
    refuse_checkpoints,
    steps_per_epoch,
)
from sidestep.training.stages import (
    Course,
    Trained,
    new_process_reward,
    new_sasrec,
    new_transformer,
    new_value_head,
    train_process_reward,
    train_sasrec,
    train_semantic_id_model,
    train_value,
    value_windows,
)
from sidestep.training.trackers import refuse_missing_trackers

_Network = Transformer | SasRec | ProcessRewardModel | ValueHead

_BYTES_PER_WEIGHT = 16
"""In training: a weight, its gradient, and two moments of AdamW, in float32."""


class RunInfo(BaseModel):
    """Beside the configuration, what makes a run; `run.json` in its folder.

    dataset, catalog: the folders, as they were given; None where there was no catalog.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    catalog: str | None
    seed: int = Field(ge=0)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Names within a run's folder; the training loop adds `log.jsonl` and checkpoints."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration, which can be trained from again."""
        return self.path / "config.yaml"

    @property
    def bundle(self) -> Path:
        """The trained recommender."""
        return self.path / "bundle"

    @property
    def log(self) -> Path:
        """The training log."""
        return self.path / "log.jsonl"

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation."""
        return self.path / "evaluations" / name

    def refuse_other_contents(self) -> None:
        """Raises a `ValueError` where training would write into a folder of something else."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: is a file; choose another folder for --out.")
        is_run = (self.path / "run.json").is_file()
        strangers = [entry.name for entry in self.path.iterdir()]
        if strangers and not is_run:
            raise ValueError(
                f"{self.path}: exists and is not a run's folder (it holds {min(strangers)}); "
                "choose another folder for --out."
            )

    def write(self, config: AnyRun, info: RunInfo) -> None:
        """Keeps what the run was asked for."""
        # First what says that this folder is a run's: a start that is killed can be repeated.
        write_json(self.path / "run.json", info.model_dump(mode="json"))
        write_yaml(self.config, config.model_dump(mode="json"))

    def info(self) -> RunInfo:
        """What `write` kept.

        Raises:
            FileNotFoundError: this is no run's folder.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise FileNotFoundError(
                f"{self.path}: no run here, run.json is missing; make one with 'sidestep train'."
            )
        try:
            return RunInfo.model_validate(read_json(file))
        except ValidationError as error:
            raise ValueError(f"{file}: not the description of a run; train again.") from error


def train_run(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    info: RunInfo,
    resume: bool = True,
    report: Callable[[Progress], None] | None = None,
) -> TrainingResult | None:
    """Trains what a configuration asks for and leaves the bundle in the run's folder.

    An interrupted run leaves no bundle, but checkpoints: calling this again continues it.

    Returns:
        How the training ended; None where nothing is trained.

    Raises:
        ValueError: configuration, dataset and catalog do not fit, the network is larger than the
            memory, or the folder holds another run.
    """
    ready = _ready(config, dataset, catalog, folder, seed=info.seed, resume=resume)
    network: _Network | None = None
    result: TrainingResult | None = None
    # Not before everything was checked: a folder that says what it holds should hold it.
    if not checkpoints(folder.path):
        folder.write(config, info)
    if not isinstance(config, PopularityRun):
        trained = _trained(config, ready, folder, info.seed, resume, report)
        network, result = trained.network, trained.result
        if result.stopped == "interrupted" or not PartialState().is_main_process:
            return result
    # Again, because a resumed run may have other settings where they change no step.
    folder.write(config, info)
    _save(config, ready, dataset, folder, info.seed, network, result)
    return result


def plan_run(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    *,
    folder: RunFolder,
    seed: int,
    resume: bool = True,
) -> dict[str, int | float | str]:
    """Checks what `train_run` would, as far as that takes no training; returns sizes by name.

    Raises:
        ValueError: see there.
    """
    ready = _ready(config, dataset, catalog, folder, seed=seed, resume=resume)
    sizes: dict[str, int | float | str] = {
        "users": len(ready.split.train),
        "items": ready.catalog.num_items,
        "validation_rows": len(ready.split.validation),
    }
    if ready.work is None:
        return sizes
    for checkpoint in checkpoints(folder.path)[-1:]:
        kept = _common(read_yaml(folder.config), folder.info().seed)
        refuse_other_run(checkpoint, kept, _common(config.model_dump(mode="json"), seed))
    return {**sizes, **asdict(ready.work)}


def _common(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """What of a configuration a resumed run must have in common with the one before."""
    training = {
        name: value for name, value in config.get("training", {}).items() if name not in RESUMABLE
    }
    return {"config": {**config, "training": training}, "seed": seed}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """How much there is to train.

    parameters: weights of the network.
    windows, targets: of the training part, in one epoch.
    steps: of the optimizer, in all epochs.
    """

    parameters: int
    windows: int
    targets: int
    epochs: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """What a run trains with, after every check that takes no training.

    backbone: None where no other network is read.
    embeddings: of every item; None where nothing compares items.
    work: None where nothing is trained.
    """

    split: Split
    catalog: Catalog
    max_history: int
    backbone: LoadedRecommender | None = None
    embeddings: Tensor | None = None
    work: _Work | None = None

    @property
    def network(self) -> SemanticIdModel:
        """That of the backbone."""
        assert self.backbone is not None
        assert isinstance(self.backbone.network, SemanticIdModel)
        return self.backbone.network


def _ready(
    config: AnyRun,
    dataset: Dataset,
    catalog: Catalog | None,
    folder: RunFolder,
    *,
    seed: int,
    resume: bool,
) -> _Ready:
    """The rows and the catalog to train with; refuses what could not end well, writes nothing."""
    split = split_of(dataset, min_context=config.min_context)
    if isinstance(config, BesideRun):
        backbone = load_backbone(config, dataset, catalog, out=folder.path)
        ready = _Ready(
            split=split,
            catalog=backbone.catalog,
            max_history=backbone.max_history,
            backbone=backbone,
        )
        if isinstance(config, ValueRun):
            ready = replace(ready, embeddings=_embeddings(config, backbone.catalog))
        else:
            refuse_prefixes_beyond_memory(config, backbone.catalog.trie.num_nodes())
    else:
        coded = _checked_catalog(config, dataset, catalog, split)
        ready = _Ready(split=split, catalog=coded, max_history=config.max_history)
    if not isinstance(config, PopularityRun):
        refuse_missing_trackers(config.training.trackers)
    folder.refuse_other_contents()
    if isinstance(config, PopularityRun):
        return ready
    ready = replace(ready, work=_work(config, ready, seed))
    if not resume:
        refuse_checkpoints(folder.path)
    return ready


def _checked_catalog(
    config: TransformerRun | SasRecRun | PopularityRun,
    dataset: Dataset,
    catalog: Catalog | None,
    split: Split,
) -> Catalog:
    """The catalog that was given, or one without semantic IDs where none are needed."""
    if catalog is not None:
        refuse_other_items(catalog, dataset)
        warn_of_other_split(catalog, dataset, split)
    elif isinstance(config, TransformerRun):
        raise ValueError(
            "a transformer needs semantic IDs: give --catalog, from 'sidestep tokenize'."
        )
    if not isinstance(config, PopularityRun):
        refuse_beyond_memory(config, len(dataset.items))
    return catalog or flat_catalog(dataset, split)


def _embeddings(config: ValueRun, catalog: Catalog) -> Tensor:
    """What rewards compare the items of the catalog by."""
    path = Path(config.embeddings)
    if not path.is_file():
        raise FileNotFoundError(
            f"embeddings: {path}: no vectors here; make them with 'sidestep embed'."
        )
    return torch.from_numpy(load_vectors(path, item_ids=catalog.item_ids.to_pylist()))


def _work(config: LearnedRun, ready: _Ready, seed: int) -> _Work:
    """The size of a training, by building its network, which finds what does not fit."""
    catalog = ready.catalog
    network: nn.Module
    if isinstance(config, ProcessRewardRun):
        network = new_process_reward(catalog, ready.network, config.model, seed=seed)
    elif isinstance(config, ValueRun):
        assert ready.embeddings is not None
        network, _ = new_value_head(
            catalog,
            ready.network,
            ready.embeddings,
            config.model,
            config.objective,
            config.candidates.policy(),
            seed=seed,
        )
    elif isinstance(config, SasRecRun):
        network, _ = new_sasrec(
            catalog.num_items,
            config.model,
            config.objective,
            max_history=config.max_history,
            seed=seed,
        )
    else:
        network, _ = new_transformer(catalog, config.model, config.objective, seed=seed)
    windows = _windows(config, ready)
    return _Work(
        parameters=sum(weights.numel() for weights in network.parameters()),
        windows=len(windows),
        targets=windows.num_targets,
        epochs=config.training.epochs,
        steps=config.training.epochs * steps_per_epoch(windows, config.training),
    )


def _windows(config: LearnedRun, ready: _Ready) -> Windows:
    if isinstance(config, ValueRun):
        return value_windows(ready.split, config.objective, max_history=ready.max_history)
    return training_windows(ready.split.train, ready.max_history)


def refuse_beyond_memory(config: TransformerRun | SasRecRun, num_items: int) -> None:
    """Raises a `ValueError` for a network whose training cannot fit this machine."""
    model = config.model
    # Not less than this: attention and feed-forward of each layer, and a vector per item.
    num_weights = model.num_layers * 12 * model.dim**2
    if isinstance(config, SasRecRun) or config.model.item_embedding:
        num_weights += num_items * model.dim
    needed = num_weights * _BYTES_PER_WEIGHT
    if needed > memory_bytes():
        raise ValueError(
            f"model.dim {model.dim} with {model.num_layers} layers and {num_items:,} items takes "
            f"{needed / 1e9:,.0f} GB to train, and this machine has {memory_bytes() / 1e9:,.0f}; "
            "lower model.dim or model.num_layers."
        )


def refuse_prefixes_beyond_memory(config: ProcessRewardRun, num_prefixes: int) -> None:
    """Raises a `ValueError` for a process reward model whose training cannot fit this machine."""
    model = config.model
    # Not less than this: a vector per row, and what is square in the width in each block.
    num_weights = (model.hashed_rows or num_prefixes) * model.dim + model.num_blocks * model.dim**2
    needed = num_weights * _BYTES_PER_WEIGHT
    if needed > memory_bytes():
        raise ValueError(
            f"model.dim {model.dim} with {num_prefixes:,} prefixes takes {needed / 1e9:,.0f} GB to "
            f"train, and this machine has {memory_bytes() / 1e9:,.0f}; lower model.dim, or let "
            "prefixes share model.hashed_rows."
        )


def _trained(
    config: LearnedRun,
    ready: _Ready,
    folder: RunFolder,
    seed: int,
    resume: bool,
    report: Callable[[Progress], None] | None,
) -> Trained[Transformer] | Trained[SasRec] | Trained[ProcessRewardModel] | Trained[ValueHead]:
    split, catalog = ready.split, ready.catalog
    course = Course(
        training=config.training,
        max_history=ready.max_history,
        folder=folder.path,
        seed=seed,
        validation=config.validation,
        resume=resume,
        report=report,
    )
    if isinstance(config, ValueRun):
        assert ready.embeddings is not None
        return train_value(
            split,
            catalog,
            ready.network,
            ready.embeddings,
            model=config.model,
            objective=config.objective,
            policy=config.candidates.policy(),
            guidance=config.guidance,
            course=course,
        )
    if isinstance(config, ProcessRewardRun):
        return train_process_reward(
            split,
            catalog,
            ready.network,
            model=config.model,
            objective=config.objective,
            guidance=config.guidance,
            course=course,
        )
    if isinstance(config, SasRecRun):
        return train_sasrec(
            split,
            catalog.num_items,
            model=config.model,
            objective=config.objective,
            course=course,
        )
    return train_semantic_id_model(
        split,
        catalog,
        model=config.model,
        objective=config.objective,
        course=course,
    )


def _save(
    config: AnyRun,
    ready: _Ready,
    dataset: Dataset,
    folder: RunFolder,
    seed: int,
    network: _Network | None,
    result: TrainingResult | None,
) -> None:
    """Leaves the bundle; one of what was trained beside a network recommends by itself."""
    summary = {} if result is None else _summary(result)
    if isinstance(config, BesideRun):
        assert ready.backbone is not None
        before = ready.backbone.manifest
        # What answers took both trainings.
        summary["seconds"] += before.training.get("seconds", 0.0)
        summary["backbone"] = {"seed": before.seed, **before.training}
        made = _with_beside(config, ready.backbone, network)
        known = {"seed": seed, "training": summary, "data": fingerprint(dataset)}
        manifest = made.manifest.model_copy(update=known)
        save_loaded(folder.bundle, replace(made, manifest=manifest))
        return
    assert isinstance(network, Transformer | SasRec | None)
    save_bundle(
        folder.bundle,
        network=network,
        counts=popularity_of(ready.split, len(dataset.items)) if network is None else None,
        catalog=ready.catalog,
        max_history=ready.max_history,
        seed=seed,
        training=summary,
        data=fingerprint(dataset),
    )


def _with_beside(
    config: BesideRun, backbone: LoadedRecommender, network: _Network | None
) -> LoadedRecommender:
    """A backbone with what was trained beside it, and with what it had before."""
    if isinstance(config, ProcessRewardRun):
        assert isinstance(network, ProcessRewardModel)
        scored = KeptProcessReward(model=config.model, guidance=config.guidance)
        manifest = backbone.manifest.model_copy(update={"process_reward": scored})
        if config.objective.joint is not None:  # values were learned on the states of before
            manifest = manifest.model_copy(update={"value_head": None})
            backbone = replace(backbone, value_head=None)
        return replace(backbone, manifest=manifest, process_reward=network)
    assert isinstance(network, ValueHead)
    valued = KeptValueHead(
        model=config.model, guidance=config.guidance, gamma=config.objective.gamma
    )
    manifest = backbone.manifest.model_copy(update={"value_head": valued})
    return replace(backbone, manifest=manifest, value_head=network)


def _summary(result: TrainingResult) -> dict[str, Any]:
    """What the bundle says of its training."""
    return {
        "validation": result.best_score,
        "best_epoch": result.best_epoch,
        "steps": result.step,
        "seconds": result.seconds,
        "stopped": result.stopped,
    }
