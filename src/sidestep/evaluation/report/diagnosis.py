"""The page of a diagnosis: quality of scores, depths where targets are lost, one user's search."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from sidestep.evaluation.diagnosis import Diagnosis
from sidestep.evaluation.measured import Measured
from sidestep.evaluation.prefix_quality import PrefixQuality
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.drawing import Drawing
from sidestep.evaluation.report.loss_bars import loss_bars
from sidestep.evaluation.report.page import Page, Section
from sidestep.evaluation.report.table import Cell, Entry, Table, number, number_range

_CHARTS = (
    (
        "auc",
        "AUC by depth",
        "Share of the other prefixes of a depth that score below the target's own; 0.5 is chance.",
    ),
    (
        "hard_auc",
        "AUC among what a beam proposes",
        "The same among the prefixes that a plain beam proposes, if the target's is one of them.",
    ),
    (
        "sibling_auc",
        "AUC among siblings",
        "The same among the prefixes that differ from the target's only in their last code.",
    ),
    (
        "correlation",
        "Rank correlation with the reward",
        "Spearman's ρ with the mean reward of the candidates below, over sampled candidates.",
    ),
)


def diagnosis_page(
    diagnoses: Mapping[str, Diagnosis],
    trees: Sequence[Drawing],
    *,
    tree_lead: str = "",
    facts: Mapping[str, str] | None = None,
) -> Page:
    """Makes the page of the diagnoses of some runs.

    Args:
        diagnoses: one diagnosis per run, by the name of the run on the page.
        trees: drawings of one user's searches.
        tree_lead: sentence that tells which user it is.
        facts: see `Page`.
    """
    names = ", ".join(diagnoses)
    first = next(iter(diagnoses.values()))
    return Page(
        title=f"Behind the lists of {names} on {first.dataset}",
        summary=f"Judged on {first.searches[0].num_rows:,} rows of {first.split}. Intervals are "
        "95% bootstrap intervals over users.",
        sections=[
            *_score_sections(diagnoses),
            Section(
                title="Searches",
                parts=[
                    *(
                        _recall_chart(_of_run(diagnoses, run), found)
                        for run, found in diagnoses.items()
                    ),
                    *(
                        loss_bars(found.searches, title=f"Where the target is lost{of_run}")
                        for run, found in diagnoses.items()
                        for of_run in (_of_run(diagnoses, run),)
                    ),
                ],
            ),
            Section(title="Candidate sets", parts=[_set_table(diagnoses)]),
            *([Section(title="One user's search", lead=tree_lead, parts=trees)] if trees else []),
        ],
        facts=facts or {},
    )


def _score_sections(diagnoses: Mapping[str, Diagnosis]) -> list[Section]:
    """The section of the scores of prefixes; none where no run has prefixes."""
    if all(found.prefixes is None for found in diagnoses.values()):
        return []
    charts = [
        chart
        for run, found in diagnoses.items()
        if found.prefixes is not None
        for chart in _score_charts(_of_run(diagnoses, run), found.prefixes)
    ]
    return [
        Section(
            title="Scores of prefixes",
            lead="A search keeps the prefixes that score best; these are the scores on their own, "
            "before any search.",
            parts=[*charts, _score_table(diagnoses)],
        )
    ]


def _label(diagnoses: Mapping[str, Diagnosis], run: str, name: str) -> str:
    return name if len(diagnoses) == 1 else f"{run}: {name}"


def _of_run(diagnoses: Mapping[str, Diagnosis], run: str) -> str:
    """The end of a title that names the run; empty if there is only one run."""
    return "" if len(diagnoses) == 1 else f", {run}"


def _curve(label: str, points: Sequence[tuple[int, Measured | None]]) -> Curve | None:
    known = [(depth, found) for depth, found in points if found is not None]
    if not known:
        return None
    return Curve(
        label=label,
        x=tuple(float(depth) for depth, _ in known),
        y=tuple(found.mean for _, found in known),
        low=tuple(found.interval.low for _, found in known),
        high=tuple(found.interval.high for _, found in known),
    )


def _score_charts(of_run: str, found: PrefixQuality) -> list[Chart]:
    charts = []
    for kind, title, caption in _CHARTS:
        curves = [
            _curve(name, [(at.depth, attrgetter(kind)(at)) for at in depths])
            for name, depths in found.scores.items()
        ]
        shown = tuple(curve for curve in curves if curve is not None)
        if shown:
            charts.append(
                Chart(
                    title=f"{title}{of_run}",
                    caption=caption,
                    x_label="depth (codes)",
                    y_label="ρ" if kind == "correlation" else "AUC",
                    curves=shown,
                )
            )
    return charts


def _recall_chart(of_run: str, found: Diagnosis) -> Chart:
    curves = []
    for search in found.searches:
        curves.append(_curve(search.name, [(at.depth, at.recalled) for at in search.depths]))
        scores = {} if found.prefixes is None else found.prefixes.scores
        oracle = scores.get(search.score_kind, ())
        curves.append(_curve(f"{search.name}, oracle", [(at.depth, at.oracle) for at in oracle]))
    if found.prefixes is None:
        shared = "some codes of the target, as many as the depth says,"
        ceiling = (
            "With --prefixes all, the exhaustive searches stand beside the others: what a search "
            "would return if it missed nothing."
        )
    else:
        shared = "the target's first codes"
        ceiling = (
            "An oracle returns the best leaves of the whole catalog by the score of a search: what "
            "the search would return if it missed nothing."
            if found.prefixes.is_exact
            else "Oracles, which rank the whole catalog, are known only with --prefixes all."
        )
    return Chart(
        title=f"Targets recalled by depth{of_run}",
        caption=f"Share of users with {shared} in a returned leaf. {ceiling}",
        x_label="depth (codes)",
        y_label="HRecall",
        from_zero=True,
        curves=tuple(curve for curve in curves if curve is not None),
    )


def _score_table(diagnoses: Mapping[str, Diagnosis]) -> Table:
    return Table(
        caption="Means with their intervals, and of how many rows",
        columns=("score", "depth", "AUC", "proposals", "siblings", "ρ", "oracle"),
        rows=tuple(
            (
                _label(diagnoses, run, name),
                at.depth,
                *map(_cell, (at.auc, at.hard_auc, at.sibling_auc, at.correlation, at.oracle)),
            )
            for run, found in diagnoses.items()
            if found.prefixes is not None
            for name, depths in found.prefixes.scores.items()
            for at in depths
        ),
    )


def _set_table(diagnoses: Mapping[str, Diagnosis]) -> Table:
    return Table(
        caption="Leaves that searches return. Diversity: mean over pairs of 1 - S / L. S is the "
        "number of first codes that two leaves share; for sets of codes, S is the number of all "
        "codes that two leaves share. Has target and best cosine: the best rewards of the "
        "candidate set. Rank: the place of the target, over the rows whose candidate set has the "
        "target.",
        columns=("search", "leaves", "diversity", "has target", "rank", "best cosine", "tokens"),
        rows=tuple(
            (
                _label(diagnoses, run, search.name),
                *map(
                    _cell,
                    (of.size, of.diversity, of.has_target, of.rank, of.best_cosine, of.tokens),
                ),
            )
            for run, found in diagnoses.items()
            for search in found.candidate_sets
            for of in (search.candidates,)
        ),
    )


def _cell(found: Measured | None) -> Entry:
    if found is None:
        return None
    notes = (number_range(found.interval.low, found.interval.high), f"{found.num_rows:,} rows")
    return Cell(text=number(found.mean), notes=notes)
