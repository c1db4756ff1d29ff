"""Windows with their latest targets alone, for trainings that search for every target."""

from sidestep.data.splits import Split
from sidestep.data.windows import Windows, training_windows
from sidestep.evaluation.evaluator import fixed_users
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.objective_config import (
    PreferenceConfig,
    TreeDistillationConfig,
    ValueTrainingConfig,
)


def prompt_windows(
    split: Split,
    config: AlignmentConfig | PreferenceConfig | TreeDistillationConfig,
    *,
    max_history: int,
) -> Windows:
    """The windows whose targets a policy is trained further on.

    Raises:
        ValueError: prompts are open, which read the target, and some target events are no inputs.
    """
    histories = split.train.histories
    is_open = not isinstance(config, PreferenceConfig) and config.open_prompts
    if is_open and (histories.is_target & ~histories.is_input).any():
        raise ValueError(
            "open_prompts reads each target as the last item of the history, but some target "
            "events have the weight 0 as inputs; give them a weight as inputs, or leave "
            "open_prompts out."
        )
    return latest_windows(
        split,
        targets_per_window=config.targets_per_window,
        num_windows=config.num_prompts,
        max_history=max_history,
    )


def value_windows(split: Split, objective: ValueTrainingConfig, *, max_history: int) -> Windows:
    """The windows of a split with the targets that values are learned from."""
    return latest_windows(
        split, targets_per_window=objective.targets_per_window, max_history=max_history
    )


def latest_windows(
    split: Split,
    *,
    targets_per_window: int | None,
    max_history: int,
    num_windows: int | None = None,
) -> Windows:
    """Windows of a split with their latest targets alone.

    Args:
        split: of which the training part is taken.
        targets_per_window: at most; None keeps all.
        max_history: items that precede a target, at most.
        num_windows: so many fixed random ones; None keeps all.
    """
    windows = training_windows(split.train, max_history)
    if targets_per_window is not None:
        windows = windows.latest_targets(targets_per_window)
    if num_windows is None or num_windows >= len(windows):
        return windows
    return windows.select(fixed_users(len(windows), num_windows))
