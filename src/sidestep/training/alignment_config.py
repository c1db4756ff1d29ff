"""Settings of alignment: of the improvement of a policy on rewards, and which fit together."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sidestep.objectives.choices import Ratio, Scaling
from sidestep.search.config import NamedSearch
from sidestep.training.objective_config import (
    NEED_TARGETS,
    NextCodeConfig,
    NextCodeSetConfig,
    ReturnsConfig,
    RewardTerm,
    ThoughtConfig,
)

Weighting = Literal["uniform", "policy"]
"""All alike, as published; or by their shares of the policy's probability within the set, that
over legal codes at `temperature`, whatever the search went by. With `scaling` mean-only and
rollouts by the policy of now the gradient is then that of the expected reward within the set
(minimum risk training, arXiv:1512.02433). It vanishes where nothing is to be won, while with
uniform weights what a search found is pushed down for ever.
"""


Repair = Literal["none", "target", "hint", "resample", "drop"]
"""The treatment of a group whose candidates all have the same reward.

none: it counts as a group of no advantage. target: the item that came next joins it. hint: it is
searched again below the first codes of the item that came next, as few as give different rewards;
the codes that were hinted are learned by likelihood (HCGRec, arXiv:2608.11980). resample: it is
drawn again from a hot policy. drop: it does not count at all (DAPO, arXiv:2503.14476), and a batch
counts by its prompts however few of its groups do.
"""


class LoopValueConfig(ReturnsConfig):
    """Settings of values that learn while the policy learns."""

    learning_rate_factor: float = Field(10.0, gt=0)
    """The head learns at so many times the rate of the policy."""

    detach_backbone: bool = True
    """Whether what is learned of values leaves the policy as it is."""


class AlignmentConfig(BaseModel):
    """Settings of an alignment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rollouts: NamedSearch = Field(
        default_factory=lambda: NamedSearch.model_validate({"search": "beam", "num_beams": 16})
    )
    """The search that finds the candidates; a user's history draws anew at every step."""

    rewards: tuple[RewardTerm, ...] = (RewardTerm(reward="rank-aware"),)
    """The rewards of candidates, which are added up."""

    reward_horizon: int = Field(1, ge=1)
    """The items that came next which rewards see, the target first. More than 1 needs targets that
    others follow in their window: `targets_per_window` of more than 1, or null."""

    reward_decay: float = Field(0.8, gt=0, le=1, exclude_if=lambda decay: decay == 0.8)
    """The weight of each further item that came next, relative to the one before, in the rewards
    `step-hit`, `category-hit` and `path` (MSRA of REG4Rec)."""

    group_weight: float | None = Field(1.0, gt=0)
    """Weight of the loss over whole candidates (GRPO); None leaves it out."""

    sibling_weight: float | None = Field(None, gt=0)
    """Weight of the loss over siblings (Sibling-GRPO); None leaves it out."""

    scaling: Scaling = "std"
    """The scaling of advantages: std, mean-only or leave-one-out."""

    weighting: Weighting = "uniform"
    """The weight of each candidate of a group."""

    optimum_temperature: float | None = Field(None, gt=0)
    """τ: instead of advantages, what is missing to the group's best policy for rewards and
    divergence together, see `optimum_advantages`; it takes the place of `scaling`. In the unit of
    the rewards: the smaller, the more they count. What is missing is measured anew at every step,
    so that no ratio and no clipping comes with it, also where a copy made the rollouts. None goes
    by advantages, which push for ever."""

    ratio: Ratio = "token"
    """The ratio of π to the policy of the rollouts, by code or by whole semantic ID (GSPO)."""

    clip_low: float | None = Field(0.2, gt=0, lt=1)
    """The largest fall of the ratio that is still rewarded; None is without bound."""

    clip_high: float | None = Field(0.2, gt=0)
    """The largest rise of the ratio; more than `clip_low` is DAPO's."""

    temperature: float = Field(1.0, gt=0)
    """The normaliser of the policy that is improved."""

    dropout: bool = False
    """Whether rollouts and update come with the policy's dropout. It was trained on the same
    targets, and without dropout knows them better than it will know any target that is new."""

    kl_weight: float | None = Field(1e-3, gt=0)
    """Weight of the divergence from the policy of before; None does without that policy."""

    kl: Literal["exact", "k3"] = "exact"
    """Over all legal codes of every node, or estimated at the candidates' own codes."""

    likelihood: NextCodeConfig | ThoughtConfig | NextCodeSetConfig | None = None
    """The likelihood loss beside the rewards, with dropout as before; None: rewards alone. A policy
    over sets of codes reads it as a `NextCodeSetConfig`."""

    likelihood_weight: float = Field(1.0, gt=0)
    """Weight of it."""

    repair: Repair = "none"
    """The treatment of groups without different rewards."""

    steps_per_rollout_policy: int = Field(1, ge=1)
    """Optimizer steps for which one copy of the policy makes the rollouts; from the second on the
    ratio is not 1. One makes them with the policy of now."""

    steps_per_reference: int | None = Field(None, ge=1)
    """Optimizer steps after which the policy of now becomes the reference; None never."""

    targets_per_window: int | None = Field(1, ge=1)
    """The latest positions of each window that are searched for; None takes all."""

    open_prompts: bool = False
    """Whether the search asks what comes after these positions, and not what stands there: nobody
    knows, so that the policy cannot have learned it by heart. Rewards, repair and values must then
    do without a target."""

    num_prompts: int | None = Field(8000, ge=1)
    """Windows that are learned from, fixed random ones; None takes all."""

    value: LoopValueConfig | None = None
    """Settings of values that learn on the same candidates; None leaves values as they are."""

    max_kl: float | None = Field(None, gt=0)
    """The run ends where the mean divergence since the last line in the log is larger; in nats."""

    min_entropy: float | None = Field(None, gt=0)
    """The run ends where the mean entropy of the first code is smaller; in nats."""

    @model_validator(mode="after")
    def _fits(self) -> "AlignmentConfig":
        if self.group_weight is None and self.sibling_weight is None and self.likelihood is None:
            raise ValueError(
                "there is nothing to learn: set group_weight, sibling_weight or likelihood."
            )
        if self.reward_horizon > 1 and self.targets_per_window == 1:
            raise ValueError(
                f"reward_horizon is {self.reward_horizon}, but with targets_per_window 1 no target "
                "follows another: set targets_per_window to more, or to null."
            )
        if self.learns_from_rewards and self.repair != "target":
            self._refuse_lone_candidates()
        if self.max_kl is not None and self.kl_weight is None:
            raise ValueError("max_kl needs the reference policy: set kl_weight.")
        if self.steps_per_reference is not None and self.kl_weight is None:
            raise ValueError("steps_per_reference needs the reference policy: set kl_weight.")
        if self.optimum_temperature is not None:
            self._refuse_other_advantages()
        if self.weighting == "policy" and (
            self.sibling_weight is not None or self.repair == "target"
        ):
            raise ValueError(
                "weighting 'policy' is of whole candidates that the search found: leave "
                "sibling_weight and the repair 'target' out, or weigh uniformly."
            )
        if self.ratio == "sequence" and (self.sibling_weight is not None or self.repair == "hint"):
            raise ValueError(
                "ratio 'sequence' is of whole candidates: leave sibling_weight and the repair "
                "'hint' out, or take the ratio 'token'."
            )
        if self.open_prompts:
            self._refuse_targets()
        if self.dropout and self.steps_per_rollout_policy > 1:
            raise ValueError(
                "dropout would part the policy from the copy that makes the rollouts: set "
                "steps_per_rollout_policy to 1, or dropout to false."
            )
        if not self.learns_from_rewards:
            for name in ("value", "max_kl", "min_entropy"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs rollouts: set group_weight or sibling_weight.")
        return self

    def _refuse_lone_candidates(self) -> None:
        """Raises a `ValueError` where a group holds one candidate, which is no better than any."""
        number = self.rollouts.num_candidates
        if number is not None and number < 2:
            raise ValueError(
                f"rollouts: {self.rollouts.search} finds {number} candidate, which has no other to "
                "be better than, so that nothing would be learned: let it find 2 or more."
            )

    def _refuse_other_advantages(self) -> None:
        """Raises a `ValueError` for what the group's best policy leaves no place for."""
        if self.kl_weight is None or self.group_weight is None:
            raise ValueError(
                "optimum_temperature is of whole candidates, against the policy of before: set "
                "group_weight and kl_weight."
            )
        if self.sibling_weight is not None or self.weighting == "policy":
            raise ValueError(
                "optimum_temperature takes the place of advantages: leave sibling_weight and the "
                "weighting 'policy' out."
            )

    def _refuse_targets(self) -> None:
        """Raises a `ValueError` for what open prompts have no target for."""
        asking = [term.reward for term in self.rewards if term.reward in NEED_TARGETS]
        if asking:
            raise ValueError(
                f"open_prompts: the reward {asking[0]!r} asks what came next, which nobody knows "
                "there; name others, such as item-head or collaborative."
            )
        if self.value is not None or self.repair in ("target", "hint"):
            raise ValueError(
                "open_prompts: values and the repairs 'target' and 'hint' learn from what came "
                "next, which nobody knows there; leave them out."
            )

    @property
    def goes_by_advantages(self) -> bool:
        """Whether candidates are raised and lowered by how they compare with their peers."""
        return self.learns_from_rewards and self.optimum_temperature is None

    @property
    def learns_from_rewards(self) -> bool:
        """Whether candidates are searched for at all."""
        return self.group_weight is not None or self.sibling_weight is not None
