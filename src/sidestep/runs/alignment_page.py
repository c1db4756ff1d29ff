"""The page that a run of kind align leaves: its log drawn, and one look at its last rollouts."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from sidestep.data.windows import Windows, window_batch
from sidestep.evaluation.advantage_compression import AdvantageCompression, advantage_compression
from sidestep.evaluation.alignment_history import alignment_history
from sidestep.evaluation.evaluator import fixed_users
from sidestep.evaluation.report.alignment import alignment_page
from sidestep.evaluation.report.page import write_page
from sidestep.notices import note
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.folder import RunFolder, RunInfo
from sidestep.training.alignment import AlignmentObjective
from sidestep.training.alignment_config import AlignmentConfig
from sidestep.training.config import VALIDATION_METRIC
from sidestep.version import __version__

NUM_PROMPTS = 512
"""The most prompts that the compression of advantages is measured on."""


def write_alignment_page(
    path: Path,
    objective: AlignmentObjective,
    prompts: Windows,
    *,
    batch_size: int,
    backbone: str,
) -> None:
    """Writes `alignment.html` into the folder of a run that is over.

    Args:
        path: of the run, with its log.
        objective: with its final weights.
        prompts: that it learned from.
        batch_size: prompts at once.
        backbone: the run or bundle that was improved.
    """
    folder = RunFolder(path)
    info = folder.info()
    compression = None
    if objective.config.goes_by_advantages:
        note(f"Measuring what advantages tell, for {folder.alignment_page}.")
        compression = final_compression(objective, prompts, batch_size=batch_size)
    num_prompts = min(NUM_PROMPTS, len(prompts))
    write_page(
        folder.alignment_page,
        alignment_page(
            alignment_history(folder.log),
            title=f"Alignment {folder.path.resolve().name} on {Path(info.dataset).name}",
            score_name=VALIDATION_METRIC,
            compression=compression,
            compression_lead="Where candidates that share a prefix get similar rewards, advantages "
            "in the whole group hardly part them; those among siblings are scaled anew below every "
            "prefix. Measured with the final weights, without dropout, the rollouts and rewards "
            f"of the training, on {num_prompts:,} of its prompts.",
            facts=_facts(folder, objective.config, info, backbone),
        ),
    )


def final_compression(
    objective: AlignmentObjective, prompts: Windows, *, batch_size: int
) -> AdvantageCompression:
    """The compression of advantages in the groups that would be learned from next.

    Args:
        objective: searches and judges.
        prompts: of which some fixed random ones are taken, each with its latest target.
        batch_size: prompts at once.
    """
    chosen = prompts.select(fixed_users(len(prompts), NUM_PROMPTS))
    latest = replace(chosen, first_target=chosen.lengths - 1)
    device = next(objective.parameters()).device
    parts = []
    for start in range(0, len(latest), batch_size):
        rows = np.arange(start, min(start + batch_size, len(latest)))
        batch = window_batch(latest, rows).to(device)
        group = objective.rolled_out(*objective.prompts(batch))
        parts.append(
            advantage_compression(
                group.rewards,
                group.tree.states,
                group.is_member,
                scaling=objective.config.scaling,
            )
        )
    return AdvantageCompression.joined(parts)


def _facts(
    folder: RunFolder, objective: AlignmentConfig, info: RunInfo, backbone: str
) -> dict[str, str]:
    """The settings and the origin of the run."""
    rollouts = objective.rollouts.model_dump(mode="json")
    terms = [
        term.reward if term.weight == 1 else f"{term.weight:g} · {term.reward}"
        for term in objective.rewards
    ]
    losses = {
        "groups": objective.group_weight,
        "siblings": objective.sibling_weight,
        "divergence": objective.kl_weight,
        "likelihood": None if objective.likelihood is None else objective.likelihood_weight,
    }
    return {
        "Dataset": info.dataset,
        "Backbone": backbone,
        "Seed": str(info.seed),
        "Rollouts": ", ".join(f"{name} {value}" for name, value in rollouts.items()),
        "Rewards": " + ".join(terms),
        "Advantages": objective.scaling,
        "Weights of losses": ", ".join(
            f"{name} {weight:g}" for name, weight in losses.items() if weight is not None
        ),
        "All settings": str(folder.config),
        "Made by": command_line(),
        "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
        "Machine": machine(),
    }
