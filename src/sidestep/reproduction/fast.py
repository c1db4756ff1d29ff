"""Small settings: a table runs from end to end in little time, and its numbers mean nothing."""

from collections.abc import Mapping
from typing import Any

from sidestep.runs.config import checked_run
from sidestep.runs.run_config import RunConfig

NUM_USERS = 50
"""Users that a smoke run evaluates."""

_MOST: Mapping[str, int] = {
    "epochs": 1,
    "validate_every": 1,
    "dim": 16,
    "state_dim": 16,
    "head_dim": 8,
    "ffn_dim": 32,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "num_blocks": 1,
    "rows_per_code": 2,
    "num_beams": 8,
    "num_samples": 4,
    "num_leaves": 8,
    "warm_width": 4,
    "teacher_leaves": 4,
    "num_rejected": 2,
    "num_negatives": 8,
    "negatives_per_target": 8,
    "num_users": 20,
    "num_prompts": 40,
}
"""The largest value of a setting, wherever a configuration has it."""

_SOME = ("num_users", "num_prompts")
"""Settings without a value that would take all there is."""

_MOST_SECONDS = 5.0
"""Of one training, for data that are not small."""

_QUICK_TOKENIZER = ["epochs=1", "warmup_epochs=1"]


def small_run(run: RunConfig) -> RunConfig:
    """A run with every size and number cut down."""
    content = _cut(run.model_dump(mode="json"))
    if "training" in content:
        content["training"]["max_seconds"] = _MOST_SECONDS
    return checked_run(content, run.kind)


def small_catalog(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `sidestep tokenize` with codebooks that fit any catalog, and little training."""
    small = {key: value for key, value in settings.items() if key != "codebook-sizes"}
    if settings.get("method") in ("rq-vae", "mpq"):
        small["set"] = _QUICK_TOKENIZER
    return small


def _cut(value: Any) -> Any:
    """Nested plain values with every setting of `_MOST` cut down."""
    if isinstance(value, list):
        return [_cut(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {key: _smaller(key, part) if key in _MOST else _cut(part) for key, part in value.items()}


def _smaller(key: str, value: Any) -> Any:
    if value is None:
        return _MOST[key] if key in _SOME else None
    return min(value, _MOST[key]) if isinstance(value, int) else value
