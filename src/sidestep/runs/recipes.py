"""Recipes: named ways to improve a trained policy, as settings of a run.

A file and `--set` may replace any setting of a recipe. Recipes have the names that results files
have, except `grpo-open` and `optimum`: results files call these grpo-beam-open and
grpo-beam-optimum.
"""

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

AlignRecipe = Literal[
    "vstar",
    "grpo-beam",
    "grpo-ved",
    "sibling-ved",
    "grpo-open",
    "optimum",
    "vstar-optimum",
    "reg4rec",
    "sft-continued",
    "tree",
]

PreferRecipe = Literal["sdpo", "dpo"]

_TRAINING: Mapping[str, Any] = {
    "epochs": 1,
    "batch_size": 64,
    "learning_rate": 1e-4,
    "final_learning_rate_share": 0.1,
    "warmup_share": 0.05,
    "weight_decay": 0.01,
    "log_every": 10,
}

_VALIDATION: Mapping[str, Any] = {"num_users": 2000, "num_beams": 50}

_BEAM = {"search": "beam", "num_beams": 16}

_VED = {"search": "ved", "num_leaves": 16}

# As many candidates as `optimum` has, from a tree half of which is a beam; what else was tried
# stands in docs/experiments.md.
_WIDE_VED = {
    "search": "ved",
    "num_leaves": 50,
    "warm_width": 24,
    "paths_per_round": 32,
    "budget": {"times": 3, "num_beams": 24},
}

_OPEN = {"open_prompts": True, "num_prompts": None, "rewards": [{"reward": "item-head"}]}

_OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "vstar": {"rollouts": _VED, "sibling_weight": 1.0, "value": {}},
    "grpo-beam": {"rollouts": _BEAM},
    "grpo-ved": {"rollouts": _VED, "value": {}},
    "sibling-ved": {"rollouts": _VED, "group_weight": None, "sibling_weight": 1.0, "value": {}},
    "grpo-open": {**_OPEN, "rollouts": _BEAM, "scaling": "mean-only"},
    "optimum": {
        **_OPEN,
        "rollouts": {"search": "beam", "num_beams": 50},
        "optimum_temperature": 0.06,
    },
    "vstar-optimum": {**_OPEN, "rollouts": _WIDE_VED, "optimum_temperature": 0.12},
    "reg4rec": {
        "rollouts": {"search": "sampling", "num_samples": 16},
        "rewards": [
            {"reward": name} for name in ("step-hit", "category-hit", "step-consistency", "path")
        ],
        "reward_horizon": 3,
        "targets_per_window": 3,
        "ratio": "sequence",
        "clip_low": 0.15,
        "clip_high": 0.15,
        "kl_weight": 0.03,
    },
    "sft-continued": {
        "group_weight": None,
        "kl_weight": None,
        "num_prompts": None,
        "targets_per_window": None,
        "likelihood": {},
    },
}

_LANGUAGE_MODELS = ("hugging-face", "language-model")
"""The kind of a language model in a bundle, and the kind of the run that trains one."""

_REJECTED: Mapping[PreferRecipe, int] = {"sdpo": 8, "dpo": 1}


def align_recipe(name: AlignRecipe) -> dict[str, Any]:
    """The settings of reinforcement learning by a recipe.

    grpo-beam: GRPO on beams, as MiniOneRec (arXiv:2510.24431).
    grpo-ved: GRPO on the finds of VED, with values in the loop.
    sibling-ved: advantages among siblings on the finds of VED, with values in the loop.
    vstar: both kinds of advantages, as V-STAR (arXiv:2602.10699).
    grpo-open: ours; the policy's own item head rewards prompts whose answer nobody knows.
    optimum, vstar-optimum: ours; the same prompts, towards the best policy of each group, which a
        beam or VED finds.
    reg4rec: GRPO on samples with the rewards of PARS, over the next three items (MSRA), as REG4Rec
        (arXiv:2508.15308); it needs a category head.
    sft-continued: the control, which goes on with likelihood.
    tree: ours; the policy's own item head teaches the codes at every prefix where rows of codes
        choose. Each code gets four rows. Items choose the last code, and every code below prefixes
        and sets of few items, by the state after the history.
    """
    if name == "tree":
        return {
            "kind": "distill",
            "last_code_head": "items",
            "few_items": 128,
            "prefix_queries": False,
            "rows_per_code": 4,
            "objective": {"learned_nodes": "rows", "rows_rate_factor": 20.0},
            "training": {
                **_TRAINING,
                "epochs": 3,
                "learning_rate": 5e-4,
                "weight_decay": 0.0,
                "betas": [0.9, 0.98],
            },
            "validation": dict(_VALIDATION),
        }
    training = dict(_TRAINING)
    if "optimum_temperature" in _OBJECTIVES[name]:
        training["learning_rate"] = 5e-4  # it can afford to: the push ends where it should
    return {
        "kind": "align",
        "objective": copy.deepcopy(dict(_OBJECTIVES[name])),
        "training": training,
        "validation": dict(_VALIDATION),
    }


def prefer_recipe(name: PreferRecipe) -> dict[str, Any]:
    """The settings of preference learning by a recipe.

    sdpo: S-DPO (arXiv:2406.09215), which rejects several finds.
    dpo: DPO, which rejects the best find.
    """
    return {
        "kind": "prefer",
        "objective": {"num_rejected": _REJECTED[name]},
        "training": dict(_TRAINING),
        "validation": dict(_VALIDATION),
    }


def settings_of(name: str, *, network: str | None = None) -> dict[str, Any]:
    """The settings of any recipe, by its name.

    Args:
        name: of the recipe.
        network: the kind of the network that is improved, or of the run that made the network. A
            language model learns at a tenth of the rate. At the rate of small networks, ten steps
            made a language model useless.

    Raises:
        ValueError: there is no such recipe.
    """
    content = _settings_of(name)
    if network in _LANGUAGE_MODELS:
        content["training"]["learning_rate"] /= 10
    return content


def _settings_of(name: str) -> dict[str, Any]:
    for align in get_args(AlignRecipe):
        if name == align:
            return align_recipe(align)
    for prefer in _REJECTED:
        if name == prefer:
            return prefer_recipe(prefer)
    raise ValueError(
        f"recipe: there is no {name!r:.60}; there are "
        f"{', '.join([*get_args(AlignRecipe), *_REJECTED])}."
    )
