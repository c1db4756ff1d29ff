"""The page of diagnosed runs: what was found, and the search trees of a user."""

from __future__ import annotations

from collections.abc import Sequence

from sidestep.evaluation import diagnosis
from sidestep.evaluation.report import diagnosis as diagnosis_report
from sidestep.evaluation.report import page as pages
from sidestep.evaluation.report import users as users_report
from sidestep.evaluation.words import value_in_words
from sidestep.runs import diagnosed_run
from sidestep.runs.environment import command_line, git_commit, machine
from sidestep.runs.kept_paths import names_of
from sidestep.version import __version__

_NUM_PAST = 3
_TITLE_CHARACTERS = 60


def diagnosis_page(
    opened: Sequence[diagnosed_run.DiagnosedRun],
    found: Sequence[diagnosis.Diagnosis],
    drawn: Sequence[int],
    look: diagnosed_run.Look,
) -> pages.Page:
    """The page of what diagnoses found, with the search trees of a user of each run.

    Args:
        opened: the runs.
        found: of each run.
        drawn: the row of each run whose trees are drawn.
        look: the settings of the diagnoses.
    """
    settings = look.settings
    labels = names_of([run.path for run in opened])
    trees = [
        drawing
        for label, run, row in zip(labels, opened, drawn, strict=True)
        for drawing in run.trees(row, look, label=label if len(opened) > 1 else "")
    ]
    run, row = opened[0], drawn[0]
    catalog = run.loaded.catalog
    words = catalog.ids_of if catalog.texts is None else catalog.titles_of
    past = words(run.rows.histories.of(row)[-_NUM_PAST:])
    titles = [users_report.shortened(title, _TITLE_CHARACTERS) for title in past]
    lead = (
        f"User {run.rows.histories.user_ids[row]}, who last took "
        f"{'; '.join(titles) or 'nothing'}. "
        f"What came next: {words(run.rows.targets[row : row + 1])[0]}. Dashed lines lead to what "
        "a search dropped or never looked at."
    )
    facts = {
        "Runs": "; ".join(str(run.path) for run in opened),
        "Prefixes": "all" if settings.num_prefixes is None else str(settings.num_prefixes),
        "Beams": f"{settings.num_beams} of {settings.candidates}",
        "λ": "of each search" if look.weight is None else value_in_words(look.weight),
        "Pools": f"{settings.pool_size} at temperature {settings.temperature:g}",
        "Report by": command_line(),
        "Version": f"sidestep {__version__}, commit {git_commit() or 'unknown'}",
        "Machine": machine(),
    }
    pairs = zip(labels, found, strict=True)
    return diagnosis_report.diagnosis_page(dict(pairs), trees, tree_lead=lead, facts=facts)
