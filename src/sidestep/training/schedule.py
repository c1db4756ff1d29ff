"""The learning rate as a function of the step: nothing to save, nothing to restore."""

import math


def learning_rate_at(
    step: int, *, num_steps: int, warmup_steps: int, peak: float, floor: float
) -> float:
    """Linear warm-up, then half a cosine down to the floor.

        step < warmup_steps:  peak (step + 1) / warmup_steps
        later:                floor + (peak - floor) (1 + cos(pi p)) / 2,
                              p = (step - warmup_steps) / (num_steps - warmup_steps)

    Source: SGDR without restarts (arXiv:1608.03983). The first step already learns, and the step
    after the last would be at the floor.

    Args:
        step: optimizer steps done before this one.
        num_steps: optimizer steps of the whole run.
        warmup_steps: steps of the warm-up; the first step after it is at the peak.
        peak: the highest rate.
        floor: the rate at the end.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = min(1.0, (step - warmup_steps) / max(1, num_steps - warmup_steps))
    return floor + (peak - floor) * (1 + math.cos(math.pi * share)) / 2
