"""Configuration of the training loop: rates, sizes, precision, when it stops, how it is judged."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

VALIDATION_METRIC = "NDCG@10"
"""The metric that chooses the best weights of a run."""

PrecisionChoice = Literal["auto", "fp32", "bf16", "adaptive"]

TrackerName = Literal["tensorboard", "mlflow", "wandb"]


class AdaptivePrecisionConfig(BaseModel):
    """Configuration of adaptive precision: how often layers are judged, and how many stay fp32."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fp32_share: float = Field(0.25, ge=0, le=1)
    """Share of the FLOPs of the linear layers that may stay in fp32; the others are bf16. With 1
    a training is that of fp32. With 0 it is that of bf16 once the first steps are sampled."""

    every_steps: int = Field(200, ge=1)
    """Optimizer steps from one choice of the precisions to the next."""

    sampled_steps: int = Field(4, ge=1)
    """Optimizer steps before each choice whose inputs and gradients are watched."""

    @model_validator(mode="after")
    def _fits(self) -> "AdaptivePrecisionConfig":
        if self.sampled_steps > self.every_steps:
            raise ValueError(
                f"sampled_steps {self.sampled_steps} must not be above every_steps "
                f"{self.every_steps}: samples come before each choice."
            )
        return self


class TrainingConfig(BaseModel):
    """Configuration of the training of an objective."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(40, ge=1)
    """Passes over the windows at most; the learning rate falls over all of them."""

    batch_size: int = Field(64, ge=1)
    """Users per batch. Several processes share each batch, see docs/how-to/many-devices.md."""

    accumulation_steps: int = Field(1, ge=1)
    """Batches whose gradients are added up before the optimizer steps."""

    learning_rate: float = Field(2e-3, gt=0)
    """The peak, at the end of the warm-up."""

    final_learning_rate_share: float = Field(0.1, ge=0, le=1)
    """Share of the peak where the cosine ends."""

    warmup_share: float = Field(0.05, ge=0, lt=1)
    """Share of all steps over which the rate rises."""

    weight_decay: float = Field(0.1, ge=0)
    """Decay of matrices only; norms, biases and embeddings do not decay."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.98,
    )
    """How much AdamW remembers of gradients and of their squares. Rows of large embedding tables
    rarely see a gradient: where they matter most, as in SASRec, remember squares longer (0.999)."""

    # Left out of files where it is not set, so that runs of older versions go on.
    item_updates: Literal["auto", "dense", "sparse"] = Field(
        "auto", exclude_if=lambda updates: updates == "auto"
    )
    """Which rows of items a step moves. With `dense`, AdamW moves the rows of all items. With
    `sparse`, SparseAdam moves the rows that the batch reads, with the same betas and no decay; so
    the time of a step does not grow with the catalog, but the loss must not read all rows (see
    `item_loss`). `auto` is sparse for tables of more than 100,000 rows, where the loss allows it
    and one process trains."""

    max_grad_norm: float | None = Field(1.0, gt=0)
    """Gradients longer than this are shortened to it; None never does."""

    precision: PrecisionChoice = "auto"
    """Precision of the forward pass; `auto` is bf16 on a GPU that has it, fp32 elsewhere. With
    bf16, a rollout compares float32 numbers, but of states that a backbone rounded: some of its
    candidates differ from those of the same network in fp32. With `adaptive`, the linear layers
    that rounding harms most stay in fp32, and the rest is bf16, on every device; see
    `adaptive_precision`."""

    adaptive_precision: AdaptivePrecisionConfig | None = Field(
        None, exclude_if=lambda adaptive: adaptive is None
    )
    """With precision `adaptive`: how often the precisions are chosen, and how much stays in fp32.
    None takes the defaults."""

    device: Literal["auto", "cpu"] = "auto"
    """`auto` takes the accelerator there is."""

    # Left out of files where it is not set, so that runs of older versions go on.
    sharding: Literal["none", "full"] = Field(
        "none", exclude_if=lambda sharding: sharding == "none"
    )
    """What several processes keep of the weights. With `none`, each process keeps all weights and
    the whole state of the optimizer (DDP). With `full`, each process keeps its shard of them
    (FSDP2), and a checkpoint consists of shards."""

    validate_every: int = Field(1, ge=1)
    """Epochs between two validations; the last epoch is always validated."""

    patience: int | None = Field(None, ge=1)
    """Validations without a gain after which training stops; None never stops early."""

    max_seconds: float | None = Field(None, gt=0)
    """Time budget, earlier parts of a resumed run included; None has none."""

    checkpoint_every_s: float = Field(300.0, gt=0)
    """Seconds after which a checkpoint is due; one is also written after every epoch."""

    log_every: int = Field(50, ge=1)
    """Optimizer steps between two lines in the log."""

    trackers: tuple[TrackerName, ...] = ()
    """Who else is told what the log says: tensorboard, mlflow, wandb. Needs the extra `track`."""

    @model_validator(mode="after")
    def _adapts(self) -> "TrainingConfig":
        if self.adaptive_precision is not None and self.precision != "adaptive":
            raise ValueError(
                f"adaptive_precision is set, but precision is {self.precision}: set precision to "
                "adaptive, or leave adaptive_precision out."
            )
        return self

    @model_validator(mode="after")
    def _shards(self) -> "TrainingConfig":
        if self.sharding == "none":
            return self
        if self.precision == "adaptive":
            raise ValueError(
                "sharding is full, but precision is adaptive, which looks at whole layers: set "
                "precision to fp32 or bf16, or sharding to none."
            )
        if self.item_updates == "sparse":
            raise ValueError(
                "sharding is full, but item_updates is sparse, which moves rows of whole tables: "
                "set item_updates to dense, or sharding to none."
            )
        return self


RESUMABLE = frozenset({"max_seconds", "checkpoint_every_s", "trackers"})
"""Settings that change no step, so a resumed run may have others."""


class ValidationConfig(BaseModel):
    """Configuration of the validation while a network is trained: NDCG@10 on validation rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_users: int | None = Field(2000, ge=1)
    """Validation rows, a fixed random choice; None takes all."""

    num_beams: int = Field(20, ge=1)
    """Width of the beam search; networks that score items need none."""

    batch_size: int = Field(64, ge=1)
    """Users per batch."""
