"""The page of a study: its trials in a table, and charts of validation by trial and by setting."""

from collections.abc import Mapping, Sequence

from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Page, Section
from sidestep.evaluation.report.table import Cell, Entry, Table, number
from sidestep.evaluation.tuning import Outcome, Trial, Tuning, in_words

_OUTCOMES: tuple[Outcome, ...] = ("finished", "pruned")
"""Outcomes with a score; the place of each is its colour."""

_BEST_COLOUR = 2


def tuning_page(tuning: Tuning, *, title: str, facts: Mapping[str, str]) -> Page:
    """Makes the page of a study that has a finished trial.

    Args:
        tuning: the trials.
        title: title of the page.
        facts: how the page was made, by name.

    Raises:
        ValueError: no trial was finished.
    """
    best = tuning.best
    assert best.score is not None
    after = "" if best.best_epoch is None else f", after epoch {best.best_epoch}"
    outcomes = [trial.outcome for trial in tuning.trials]
    counted = [
        f"{outcomes.count(outcome)} {outcome}" for outcome in ("finished", "pruned", "failed")
    ]
    return Page(
        title=title,
        summary=f"Trial {best.number} has the highest validation {tuning.metric}: "
        f"{number(best.score)}{after}. Trials: {', '.join(counted)}. The "
        "score of the best of several trials is too high by chance; only other rows can judge it.",
        sections=[
            Section(title="Trials", parts=[_trials(tuning), _space(tuning)]),
            Section(
                title="Validation",
                parts=[_by_trial(tuning), *_by_setting(tuning)],
                lead="Every point is a trial. Few trials say little about a single setting, "
                "because all settings change at once.",
            ),
        ],
        facts=facts,
    )


def _trials(tuning: Tuning) -> Table:
    best = tuning.best.number
    rows: list[tuple[Entry, ...]] = []
    for trial in tuning.ranked:
        score: Entry = None
        if trial.score is not None:
            score = Cell(text=number(trial.score), is_best=trial.number == best)
        settings = [Cell(text=in_words(trial.settings.get(name))) for name in tuning.space]
        rows.append(
            (
                f"trial {trial.number}",
                trial.outcome if trial.reason is None else f"{trial.outcome}: {trial.reason}",
                score,
                trial.best_epoch,
                *settings,
                trial.steps,
                Cell(text=f"{trial.seconds:,.0f}"),
            )
        )
    return Table(
        caption="All trials, the best first. A pruned trial was stopped early, because its "
        "validations were below the median of other trials at the same epoch.",
        columns=(
            *("trial", "end", tuning.metric, "best epoch"),
            *tuning.space,
            *("steps", "seconds"),
        ),
        rows=tuple(rows),
    )


def _space(tuning: Tuning) -> Table:
    return Table(
        caption="The search space. log: means that all orders of magnitude are equally likely.",
        columns=("setting", "values"),
        rows=tuple(tuning.space.items()),
    )


def _by_trial(tuning: Tuning) -> Chart:
    """The score of every trial by its number, and the best so far."""
    x, y = zip(*tuning.best_so_far, strict=True)
    best = Curve(label="best so far", x=tuple(map(float, x)), y=y, colour=_BEST_COLOUR)
    clouds = _clouds(tuning, {trial.number: float(trial.number) for trial in tuning.trials})
    return Chart(
        title="Validation by trial",
        caption="The score of each trial, and the best so far.",
        x_label="trial",
        y_label=f"validation {tuning.metric}",
        curves=(*clouds, best),
    )


def _by_setting(tuning: Tuning) -> list[Chart]:
    """The score by the value of each setting that two judged trials have different values of."""
    charts = []
    for name, values in tuning.space.items():
        given = {trial.number: trial.settings.get(name) for trial in _judged(tuning)}
        distinct = _in_order([in_words(value) for value in given.values()])
        if len(distinct) < 2:
            continue
        is_range = ".." in values
        names: tuple[str, ...] = ()
        if is_range:
            places = {trial: float(value) for trial, value in given.items() if value is not None}
        else:
            names = tuple(distinct)
            places = {trial: float(names.index(in_words(v))) for trial, v in given.items()}
        charts.append(
            Chart(
                title=f"Validation by {name}",
                caption="One point per trial.",
                x_label=f"{name}, log scale" if values.startswith("log:") else name,
                y_label=f"validation {tuning.metric}",
                curves=tuple(_clouds(tuning, places)),
                log_x=values.startswith("log:"),
                x_names=names,
            )
        )
    return charts


def _in_order(words: Sequence[str]) -> list[str]:
    """Each value once: numbers by their size, other values as they come."""
    distinct = list(dict.fromkeys(words))
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return distinct


def _judged(tuning: Tuning) -> list[Trial]:
    return [trial for trial in tuning.trials if trial.score is not None]


def _clouds(tuning: Tuning, places: Mapping[int, float]) -> list[Curve]:
    """One cloud of points per outcome.

    Args:
        tuning: the trials.
        places: x of a trial, by its number.
    """
    clouds = []
    for colour, outcome in enumerate(_OUTCOMES):
        points = sorted(
            (places[trial.number], trial.score)
            for trial in tuning.trials
            if trial.outcome == outcome and trial.score is not None and trial.number in places
        )
        if points:
            x, y = zip(*points, strict=True)
            clouds.append(Curve(label=outcome, x=x, y=y, colour=colour, is_joined=False))
    return clouds
