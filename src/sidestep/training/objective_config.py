"""Settings of objectives, beside the objectives and without them: to read one needs no torch."""

import operator
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from sidestep.search.config import NamedSearch

Negatives = Literal["in_batch", "popularity", "uniform", "beam"]
DEFAULT_NEGATIVES: tuple[Negatives, ...] = ("in_batch", "popularity", "uniform")


class ItemLossConfig(BaseModel):
    """Configuration of the form in which a loss over the items of a catalog is computed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Left out of files where they are not set, so that runs of older versions go on.
    item_loss: Literal["auto", "exact", "chunked", "sampled"] = Field(
        "auto", exclude_if=lambda form: form == "auto"
    )
    """`exact` scores all items at every target at once. `chunked` is the same loss over some items
    at a time, which takes less memory and more time. `sampled` scores the targets of the batch and
    some negatives, with log-q correction; its time does not grow with the catalog. `auto` is exact
    up to 20,000 items, and sampled beyond."""

    num_negatives: int = Field(4096, ge=1, exclude_if=lambda number: number == 4096)
    """Items that a sampled loss draws for each batch, beside the targets of the batch."""

    negatives: tuple[Negatives, ...] = Field(
        DEFAULT_NEGATIVES, min_length=1, exclude_if=lambda sources: sources == DEFAULT_NEGATIVES
    )
    """Sources of the negatives of a sampled loss. `in_batch` takes the targets of other windows.
    `popularity` draws items by how often they are targets, `uniform` draws all alike;
    `num_negatives` is shared out between these two. Without `uniform`, an item that is never a
    target is never pushed down. `beam` takes the items that the policy's own beam finds after the
    latest history of each window, and only a network over codes has a beam; every step then
    searches."""

    @field_validator("negatives")
    @classmethod
    def _each_once(cls, negatives: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(negatives)) < len(negatives):
            raise ValueError(f"a source of negatives is named twice in {list(negatives)}")
        return negatives


ItemLossName = Literal["cross-entropy", "sampled-softmax", "binary", "gbce"]

PUBLISHED_NEGATIVES = {"sampled-softmax": 256, "binary": 1, "gbce": 256}
"""Negatives of each target in the publications of the losses that draw them; see
`NextItemConfig.loss`."""


class NextItemConfig(ItemLossConfig):
    """Configuration of the supervised loss of an item-ID network."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over the catalog. Only of `loss: cross-entropy`."""

    # Left out of files where they are not set, so that runs of older versions go on.
    loss: ItemLossName = Field("cross-entropy", exclude_if=lambda loss: loss == "cross-entropy")
    """`cross-entropy` is that over the catalog, in the form that `item_loss` says. The other three
    score each target against negatives that are drawn for this target alone, as published.
    `sampled-softmax` is the cross-entropy over the target and its negatives (eSASRec,
    arXiv:2508.06450). `binary` tells the target from its negatives one by one; with one uniform
    negative, it is the loss of SASRec's authors (arXiv:1808.09781). `gbce` is `binary` with
    `calibration` (gSASRec, arXiv:2308.07192)."""

    negatives_per_target: int | None = Field(None, ge=1, exclude_if=lambda number: number is None)
    """Negatives that a loss other than `cross-entropy` draws for each target, from the sources of
    `negatives`: `uniform`, if no sources are set. None takes the published number: 1 for `binary`,
    256 for the other two."""

    calibration: float = Field(0.75, ge=0, le=1, exclude_if=lambda number: number == 0.75)
    """The t of gBCE: with 0 gBCE is `binary`; with 1 the scores become probabilities without a
    bias. Only of `loss: gbce`."""

    log_q: bool = Field(False, exclude_if=operator.not_)
    """Whether `sampled-softmax` divides each negative by the number of draws that is expected of
    it (log-q correction), so that the loss estimates the cross-entropy over the catalog. The
    authors of eSASRec leave the correction out. `item_loss: sampled` always has it."""

    @property
    def num_per_target(self) -> int:
        """Negatives of each target, of a loss that draws them for each target."""
        return self.negatives_per_target or PUBLISHED_NEGATIVES[self.loss]

    @property
    def per_target_sources(self) -> tuple[Negatives, ...]:
        """Sources of the negatives of each target, of a loss that draws them for each target."""
        return ("uniform",) if self.negatives == DEFAULT_NEGATIVES else self.negatives

    @model_validator(mode="after")
    def _fits_the_loss(self) -> "NextItemConfig":
        if self.loss == "cross-entropy":
            if self.negatives_per_target is not None:
                raise ValueError(
                    "negatives_per_target is of a loss that draws negatives for each target; set "
                    "loss to sampled-softmax, binary or gbce, or set num_negatives with item_loss: "
                    "sampled."
                )
        else:
            fields = type(self).model_fields
            for name in ("item_loss", "num_negatives", "label_smoothing"):
                if getattr(self, name) != fields[name].default:
                    raise ValueError(
                        f"{name} is of the loss cross-entropy, and the loss is {self.loss}; leave "
                        f"{name} out, or set loss to cross-entropy."
                    )
            if "in_batch" in self.per_target_sources:
                raise ValueError(
                    f"the loss {self.loss} draws negatives for each target alone; name popularity "
                    "or uniform in negatives, not in_batch."
                )
        if self.calibration != 0.75 and self.loss != "gbce":
            raise ValueError(f"calibration is of the loss gbce, and the loss is {self.loss}.")
        if self.log_q and self.loss != "sampled-softmax":
            raise ValueError(f"log_q is of the loss sampled-softmax, and the loss is {self.loss}.")
        return self

    @field_validator("negatives")
    @classmethod
    def _searches_nothing(cls, negatives: tuple[str, ...]) -> tuple[str, ...]:
        if "beam" in negatives:
            raise ValueError(
                "the source beam needs a network that predicts codes, and this network predicts "
                "items; name in_batch, popularity or uniform"
            )
        return negatives


class MaskedItemConfig(NextItemConfig):
    """Configuration of the supervised loss of a network that fills in masked items."""

    mask_share: float = Field(0.2, gt=0, le=1)
    """Share of the items that are masked at random."""

    last_share: float = Field(0.1, ge=0, le=1)
    """Share of the windows in which the last item alone is masked, as when the next item is asked
    for."""


class ReasoningConfig(NextItemConfig):
    """Configuration of the losses of ReaRec; `model.reasoning` says which of them is learned.

    The defaults are those of a public re-implementation (RecBole 3.0) after the authors' code.
    """

    diversity_weight: float = Field(0.05, ge=0)
    """Of `ensemble`: the weight λ of the divergence between the steps of a chain. The authors try
    .001 to .1."""

    steps_weight: float = Field(1.0, ge=0)
    """Of `progressive`: the weight of the mean loss of the steps before the last."""

    temperature_decay: float = Field(5.0, ge=1)
    """Of `progressive`: α. The scores of step k of K are divided by α^(K - k), so that the first
    steps learn a flat distribution, and the last step the sharpest."""

    contrast_weight: float = Field(1.0, ge=0)
    """Of `progressive`: the weight of telling each chain from the chains of other windows, when
    noise was added to the chain."""

    contrast_temperature: float = Field(0.07, gt=0)
    """Of `progressive`: divides the cosine of two states in that loss."""

    noise: float = Field(0.01, ge=0)
    """Of `progressive`: the standard deviation of the noise."""


class ParallelCodesConfig(BaseModel):
    """Configuration of the loss of a network that predicts all codes of the next item at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability that is spread over each codebook; ours."""


class AlignedDepthConfig(NextItemConfig):
    """Configuration of the self-supervised losses of LARES beside that of the next item."""

    trajectory_weight: float = Field(0.2, ge=0)
    """α, the weight of the agreement of two histories with the same next item."""

    step_weight: float = Field(0.1, ge=0)
    """γ, the weight of the agreement of a chain's last state with an earlier one."""

    alignment_temperature: float = Field(1.0, gt=0)
    """Divides the product of two states."""


class RefinementConfig(NextItemConfig):
    """Configuration of the denoising loss of DiffuReason beside that of the next item."""

    denoising_weight: float = Field(1.0, ge=0)
    """λ, the weight of the squared error of the denoiser; ours."""


class GroupRewardConfig(BaseModel):
    """Configuration of the reward stage of LARES and of DiffuReason.

    The defaults are those of a public re-implementation of LARES (RecBole 3.0).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    group_size: int = Field(4, ge=2)
    """G, chains that are drawn for each history."""

    reward: Literal["hit", "ndcg"] = "hit"
    """The reward of a chain: whether the next item is among the first `cutoff` of its list, or the
    NDCG of that list."""

    cutoff: int = Field(10, ge=1)
    """Items of the list that is rewarded."""

    kl_weight: float | None = Field(1.0, gt=0)
    """β, the weight of the divergence from the network of before; None leaves it out."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are learned; None takes all."""

    num_prompts: int | None = Field(None, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""


class ThoughtRewardConfig(BaseModel):
    """Configuration of the reward stage of STREAM-Rec.

    The paper names the rewards; the numbers are ours. See `ThoughtRewardObjective` for formulas.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    group_size: int = Field(8, ge=2)
    """G, sequences of thoughts and codes that are drawn for each history."""

    format_weight: float = Field(1.0, ge=0)
    """Weight of the reward for an answer that is the semantic ID of an item."""

    prefix_weight: float = Field(1.0, ge=0)
    """Weight of the share of first codes that agree with those of the next item."""

    state_weight: float = Field(1.0, ge=0)
    """Weight of the cosine of the last state of the thoughts with the next item."""

    gain_weight: float = Field(1.0, ge=0)
    """Weight of what the thoughts add to the log-likelihood of the next item, per code."""

    rank_weight: float = Field(1.0, ge=0)
    """Weight of the place of the next item among others, by their cosines with the last state."""

    num_negatives: int = Field(64, ge=1)
    """Items that are drawn for the reward by rank."""

    kl_weight: float | None = Field(1e-2, gt=0)
    """β, the weight of the divergence from the network of before; None leaves it out."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are learned; None takes all."""

    num_prompts: int | None = Field(None, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""

    @model_validator(mode="after")
    def _rewards_something(self) -> "ThoughtRewardConfig":
        weights = ("format", "prefix", "state", "gain", "rank")
        if not any(getattr(self, f"{name}_weight") for name in weights):
            raise ValueError(
                "all five rewards have the weight 0, so nothing can be learned; set one of "
                f"{', '.join(f'{name}_weight' for name in weights)}."
            )
        return self


class BeamAwareConfig(BaseModel):
    """Weights of codes that a beam search keeps, or nearly keeps.

    The defaults are those of BEAR's authors; see `beam_aware_weights` for how they are read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(10, ge=1)
    """Prefixes that the beam keeps."""

    weight: float = Field(0.25, gt=0)
    """How much more they count at most; the published formula's weight divided by `temperature`."""

    temperature: float = Field(2.75, gt=0)
    """Nats over which a code is nearly kept."""


class SupervisedCodesConfig(ItemLossConfig):
    """Configuration of a supervised loss of the next item's codes, and of the heads beside it."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the probability spread over a codebook, and in the item head over the catalog."""

    item_weight: float | None = Field(None, gt=0)
    """Weight of the auxiliary item head's cross-entropy; None trains without it."""

    beam_negatives: int = Field(8, ge=1, exclude_if=lambda number: number == 8)
    """Leaves per window that the source `beam` of negatives finds."""

    distillation_weight: float | None = Field(None, gt=0)
    """Weight of the item head's distribution as a soft target of the codes; None: no distillation.

    The head ranks better than the codes do. The head's probability of all items with a code is a
    target for the codes that knows which wrong codes are nearly right.
    """

    category_weight: float = Field(0.5, gt=0, exclude_if=lambda weight: weight == 0.5)
    """Weight of the category head's cross-entropy at every code, for a network with such a head."""

    @field_validator("negatives")
    @classmethod
    def _stand_for_all(cls, negatives: tuple[str, ...]) -> tuple[str, ...]:
        if negatives == ("beam",):
            raise ValueError(
                "the source beam stands for likely items alone; name uniform beside it, which "
                "stands for all others"
            )
        return negatives

    @model_validator(mode="after")
    def _has_teacher(self) -> "SupervisedCodesConfig":
        if self.distillation_weight is not None and self.item_weight is None:
            raise ValueError(
                "distillation_weight needs an item head to learn from: set item_weight."
            )
        return self


class CascadeConfig(SupervisedCodesConfig):
    """Configuration of the losses of COBRA.

    `item_loss` and `negatives` say which items the dense loss compares. The paper compares those of
    the batch: `{item_loss: sampled, negatives: [in_batch]}`, here with log-q correction.
    """

    dense_weight: float = Field(1.0, gt=0)
    """Weight of the loss of the dense vector beside that of the sparse ID; the paper adds both."""

    @model_validator(mode="after")
    def _has_no_item_head(self) -> "CascadeConfig":
        for name in ("item_weight", "distillation_weight"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} belongs to an item head, and COBRA has none; leave it out."
                )
        if "beam" in self.negatives:
            raise ValueError(
                "COBRA has no source beam; name in_batch, popularity or uniform in negatives"
            )
        return self


class NextCodeConfig(SupervisedCodesConfig):
    """Configuration of the supervised loss of a semantic-ID model."""

    beam_aware: BeamAwareConfig | None = None
    """Codes count more where a beam search keeps them, or nearly (BEAR); None counts all alike."""


TaskName = Literal[
    "title-to-id",
    "id-to-title",
    "titles-to-id",
    "ids-to-title",
    "titles-to-title",
    "both-to-id",
    "query-to-id",
    "ids-to-query",
]
"""Tasks in words, see `sidestep.training.language_tasks`."""

MIXTURES: dict[str, dict[TaskName, float]] = {
    "none": {},
    "minionerec": {
        "title-to-id": 1.0,
        "id-to-title": 1.0,
        "titles-to-id": 1.0,
        "ids-to-title": 1.0,
        "titles-to-title": 1.0,
    },
    "lc-rec": {
        "title-to-id": 1.0,
        "id-to-title": 1.0,
        "both-to-id": 1.0,
        "ids-to-title": 1.0,
        "query-to-id": 1.0,
        "ids-to-query": 1.0,
    },
}
"""Mixtures of tasks by name. The history of IDs -> ID is always learned, beside any mixture.

Sources: MiniOneRec (arXiv:2510.24431) and LC-Rec (arXiv:2311.09049). LC-Rec's intentions and
preferences were written by a language model; ours are a column of the items (`query_column`)."""


class LanguageTasksConfig(NextCodeConfig):
    """Configuration of the loss of a language model over codes, and of its tasks in words."""

    tasks: Literal["none", "minionerec", "lc-rec"] | dict[TaskName, float] = "none"
    """The tasks that are learned beside the history of IDs -> ID: a mixture by name, or the weight
    with which each task is drawn."""

    texts_per_step: int = Field(16, ge=1)
    """Examples of tasks in words that every step draws."""

    text_weight: float = Field(1.0, gt=0)
    """Weight of the tasks in words beside the loss of the codes."""

    query_column: str | None = Field(None, min_length=1)
    """The column of the items whose words are a query, such as categories. The tasks `query-to-id`
    and `ids-to-query` read it."""

    max_titles: int = Field(8, ge=1)
    """Most recent items of a history that is written as titles."""

    max_title_tokens: int = Field(32, ge=1)
    """Tokens of a title that are read and written."""

    @property
    def task_weights(self) -> dict[TaskName, float]:
        """The weight of each task in words; empty where codes alone are learned."""
        given = MIXTURES[self.tasks] if isinstance(self.tasks, str) else self.tasks
        return {name: weight for name, weight in given.items() if weight > 0}

    @model_validator(mode="after")
    def _has_queries(self) -> "LanguageTasksConfig":
        if isinstance(self.tasks, dict):
            wrong = [name for name, weight in self.tasks.items() if not 0 <= weight < float("inf")]
            if wrong:
                raise ValueError(f"tasks: the weight of {wrong[0]} must be a number from 0 on.")
        asks = [name for name in self.task_weights if "query" in name]
        if asks and self.query_column is None:
            raise ValueError(
                f"the task {asks[0]} reads words of items; name their column in query_column, such "
                "as categories."
            )
        return self


class ThoughtConfig(NextCodeConfig):
    """Configuration of the supervised loss of STREAM-Rec.

    The paper names the losses; the numbers are ours.
    """

    contrast_weight: float = Field(1.0, ge=0)
    """Weight of telling the states of a trace from the targets of other histories."""

    contrast_temperature: float = Field(0.1, gt=0)
    """Divides the cosine of a state and a target."""

    quantisation_weight: float = Field(1.0, ge=0)
    """Weight of the distance between residuals and the vectors of the codes that stand for them."""

    commitment: float = Field(0.25, ge=0)
    """Weight of moving residuals to vectors of codes, relative to moving the vectors."""


class NextCodeSetConfig(SupervisedCodesConfig):
    """Configuration of the supervised loss of a network over sets of codes."""

    learned_steps: int | None = Field(None, ge=1)
    """Codes of each target that are learned, in an order that is drawn anew; None learns all codes.
    Where a few codes tell every item apart, these few codes decide the others."""

    @model_validator(mode="after")
    def _keeps_probabilities(self) -> "NextCodeSetConfig":
        if self.distillation_weight is not None and self.item_loss == "chunked":
            raise ValueError(
                "item_loss: chunked keeps no probabilities of items, which the codes would learn "
                "from; set item_loss to sampled, or leave distillation_weight out."
            )
        return self


class ProcessRewardTrainingConfig(BaseModel):
    """Configuration of the loss of a process reward model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_negatives: int = Field(64, ge=1)
    """Other prefixes per target and depth, drawn uniformly among the catalog's; as many as there
    are where that is fewer: a full softmax. Over sets of codes, other legal codes of all open
    codebooks, after the set on the way of the target."""

    beam_negatives: int = Field(0, ge=0)
    """Other prefixes per target and depth that a beam search of this width keeps, beside those
    drawn: what a guided search has to choose among. Every training step then searches."""

    backbone_dropout: bool = False
    """Whether the states that are learned from come with the backbone's own dropout. It was trained
    on the same targets, and without dropout its states know them better than they will know any
    target that is new."""

    joint: NextCodeConfig | NextCodeSetConfig | None = None
    """The loss of the backbone, which then trains with the scores, as published. The gradients of
    the scores reach the backbone, and its dropout is on whatever `backbone_dropout` says. None
    leaves the backbone as it is. A network over sets learns all codes of a target."""


class ReturnsConfig(BaseModel):
    """Configuration of the returns of prefixes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gamma: float = Field(0.99, ge=0, le=1)
    """The worth of a reward one code earlier."""

    weights: tuple[float, ...] | None = None
    """How much each level's reward counts; None interpolates the published ones."""

    @field_validator("weights")
    @classmethod
    def _one_counts(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights and not any(weight > 0 for weight in weights):
            raise ValueError(
                "no level has a weight above 0, so that there is no reward to learn from; give one "
                "to at least one level"
            )
        return weights


class ValueTrainingConfig(ReturnsConfig):
    """Configuration of the loss of a value head."""

    include_target: bool = True
    """The target's path is learned from even where the search missed it; else V would see few
    right prefixes. A narrow beam then shows what it finds unlikely only where that is right, and V
    learns to prefer the unlikely: search wider, or draw from a hot policy (`Sampling`)."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are searched for; None takes all."""


def _refuse_values(search: NamedSearch) -> NamedSearch:
    """Refuses a search that reads values."""
    if search.spec.goes_by == "values":
        raise ValueError(
            f"{search.search} searches by values, which would not follow the policy; take "
            "beam or sampling"
        )
    return search


SearchWithoutValues = Annotated[NamedSearch, AfterValidator(_refuse_values)]
"""A search of a policy that changes while it is trained, and its values do not."""


class PreferenceConfig(BaseModel):
    """Configuration of preference training: what is preferred to what, and how strongly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: SearchWithoutValues = Field(
        default_factory=lambda: NamedSearch.model_validate({"search": "beam", "num_beams": 16})
    )
    """The search whose finds are rejected, the target apart; a search that reads values cannot."""

    num_rejected: int = Field(8, ge=1)
    """The best of the finds; one is DPO, more is S-DPO."""

    beta: float = Field(0.1, gt=0)
    """How much a log-ratio to the policy of before counts."""

    likelihood_weight: float | None = Field(None, gt=0)
    """Weight of the negative log-likelihood of what came next; None leaves it out."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are searched for; None takes all."""

    num_prompts: int | None = Field(8000, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""


class TreeDistillationConfig(BaseModel):
    """Settings of tree distillation: the prompts, the nodes that are learned, and their weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: SearchWithoutValues = Field(
        default_factory=lambda: NamedSearch.model_validate({"search": "beam", "num_beams": 32})
    )
    """The search of the policy whose finds are learned, with all prefixes on the way."""

    learned_weights: Literal["network", "rows"] = Field(
        "network", exclude_if=lambda weights: weights == "network"
    )
    """The weights that learn: the whole network, or only the rows of the codes. With `rows`, the
    states and the item head stay as they are, and `head_weight` is not read."""

    rows_rate_factor: float = Field(1.0, gt=0, exclude_if=lambda factor: factor == 1)
    """The learning rate of the rows of the codes, as a multiple of that of the network."""

    learned_nodes: Literal["all", "rows"] = Field("all", exclude_if=lambda nodes: nodes == "all")
    """The visited nodes at which the policy learns. `all`: every node with a choice. `rows`: the
    nodes at which rows of codes choose; at the other nodes items choose, and the loss of the item
    head teaches the items. So `rows` needs a `head_weight`, unless only the rows learn. The fewer
    nodes learn, the cheaper a step is: where rows choose only the first code, no search runs."""

    teacher_leaves: int = Field(16, ge=1)
    """The teacher's best leaves, which are learned beside the finds."""

    chosen_share: float = Field(0.5, ge=0, le=1)
    """Over sets of codes: the share of a node's loss that goes to the codebook which the policy
    chooses at the node. The rest goes to all open codebooks alike. Codes in an order do not read
    this."""

    teacher_temperature: float = Field(1.0, gt=0)
    """Divides the teacher's logits; above 1 the teacher is less sure."""

    uniform_share: float = Field(0.1, ge=0, le=1)
    """The part of the loss in which all nodes of a tree count alike. In the rest, a node counts as
    much as the teacher's probability of the items below it."""

    drop_share: float = Field(0.2, ge=0, lt=1)
    """The share of the items that a thinned history loses at random."""

    whole_share: float = Field(0.5, ge=0, le=1)
    """The share of the histories that are not thinned."""

    head_weight: float | None = Field(1.0, gt=0)
    """Weight of the divergence of the item head from the teacher, so that the head stays useful
    while the network moves; None does not teach the head."""

    open_prompts: bool = True
    """Whether a history holds the target of its window, too: no answer is needed."""

    targets_per_window: int | None = Field(2, ge=1)
    """The latest positions of each window at which a history ends; None takes all."""

    num_prompts: int | None = Field(None, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""

    @model_validator(mode="after")
    def _teaches_what_items_choose(self) -> "TreeDistillationConfig":
        moves = self.learned_weights == "network"
        if self.learned_nodes == "rows" and moves and self.head_weight is None:
            raise ValueError(
                "learned_nodes: rows needs a head_weight, such as 1, because only the loss of the "
                "item head then teaches the items; set one, or learned_weights: rows, or "
                "learned_nodes: all."
            )
        return self


class RewardTerm(BaseModel):
    """One of the rewards that are added up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: str
    """A name (see `REWARDS`), or the import path of a function, "package.module:function"."""

    weight: float = 1.0
    """The factor of the reward."""


NEED_TARGETS = frozenset(
    {
        "exact",
        "exact-worth",
        "rank",
        "rank-aware",
        "prefix",
        "semantic",
        "category",
        "soon",
        "step-hit",
        "category-hit",
        "path",
    }
)
"""The rewards that need the item that came next."""
