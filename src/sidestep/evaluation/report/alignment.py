"""The page of an alignment run: rollouts, policy and validations during the training.

This module measures nothing. Its inputs are the history of the run and, if it was measured, the
compression of advantages at the end of the run.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sidestep.evaluation.advantage_compression import AdvantageCompression
from sidestep.evaluation.alignment_history import AlignmentHistory
from sidestep.evaluation.report.chart import Chart, Curve
from sidestep.evaluation.report.page import Page, Part, Section
from sidestep.evaluation.report.table import Table, number

METRICS = ("HR@1", "HR@10", "HR@50", "NDCG@10")
"""Metrics of the validations. Together they show a first place that costs the rest of the list."""

_MAX_POINTS = 400
"""Most points of a cloud: more points cover each other and make the file large."""


def alignment_page(
    history: AlignmentHistory,
    *,
    title: str,
    score_name: str,
    compression: AdvantageCompression | None = None,
    compression_lead: str = "",
    facts: Mapping[str, str],
) -> Page:
    """Makes the page of one run. Numbers that the log does not have are left out.

    Args:
        history: history of the run.
        title: title of the page.
        score_name: the metric by which the best weights were chosen.
        compression: spread of the advantages, see `AdvantageCompression`; None leaves it out.
        compression_lead: sentence that says on what the compression was measured.
        facts: how the run was made, by name.
    """
    return Page(
        title=title,
        summary=_summary(history, score_name),
        sections=[
            Section(title="Validation", parts=_validation(history)),
            Section(title="Rollouts", parts=_rollouts(history)),
            Section(title="Policy", parts=_policy(history)),
            Section(title="Losses", parts=_losses(history)),
            Section(title="Cost", parts=_cost(history)),
            Section(
                title="Advantages below shared prefixes",
                lead=compression_lead,
                parts=[] if compression is None else _compression(compression),
            ),
        ],
        facts=facts,
    )


def _summary(history: AlignmentHistory, score_name: str) -> str:
    """Sentences on the best validation, drift and reward, as far as they are known."""
    sentences = []
    if history.best is not None:
        best = number(history.scores[history.best])
        sentences.append(f"{score_name} is best after epoch {history.epochs[history.best]}: {best}")
    went = [
        f"{name} from {number(values[0])} to {number(values[-1])}"
        for name in ("HR@1", "HR@50")
        if (values := history.metrics.get(name))
    ]
    if len(history.epochs) > 1 and went:
        sentences.append(f"Between the first validation and the last: {', '.join(went)}")
    if rewards := history.parts.get("reward"):
        sentences.append(f"The mean reward went from {number(rewards[0])} to {number(rewards[-1])}")
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _validation(history: AlignmentHistory) -> list[Part]:
    epochs = tuple(map(float, history.epochs))
    shown = [name for name in METRICS if name in history.metrics]
    if not shown:
        return []
    charts: list[Part] = [
        Chart(
            title="Quality by epoch",
            caption="On the validation rows, by plain beam search.",
            x_label="epoch",
            y_label="share of rows; NDCG",
            curves=tuple(
                Curve(label=name, x=epochs, y=history.metrics[name], colour=METRICS.index(name))
                for name in shown
            ),
            from_zero=True,
        )
    ]
    moved = [name for name in shown if history.metrics[name][0] > 0]
    if len(epochs) > 1 and moved:
        charts.append(
            Chart(
                title="Drift since the first validation",
                caption="Where HR@1 rises while HR@50 falls, the policy gets surer of what it "
                "already found, and loses the rest of the list.",
                x_label="epoch",
                y_label="change in %",
                curves=tuple(
                    Curve(
                        label=name,
                        x=epochs,
                        y=tuple(100 * (value / values[0] - 1) for value in values),
                        colour=METRICS.index(name),
                    )
                    for name in moved
                    for values in (history.metrics[name],)
                ),
            )
        )
    spread = [name for name in ("coverage", "diversity") if name in history.metrics]
    if spread:
        charts.append(
            Chart(
                title="Breadth by epoch",
                caption="Coverage: share of the catalog that is recommended to somebody. "
                "Diversity: how early the items of a list part.",
                x_label="epoch",
                y_label="share",
                curves=tuple(
                    Curve(label=name, x=epochs, y=history.metrics[name]) for name in spread
                ),
                from_zero=True,
            )
        )
    return charts


def _rollouts(history: AlignmentHistory) -> list[Part]:
    return _known(
        _by_step(
            history,
            {"best_reward": "best", "reward": "mean"},
            title="Reward",
            caption="Best reward of a prompt's candidates, and their mean reward.",
            y_label="reward",
        ),
        _by_step(
            history,
            {"zero_advantage": "nothing to learn", "found": "target found"},
            title="Groups",
            caption="Share of prompts whose candidates all have the same reward, so that no "
            "advantage is left, and, where it is known, of those whose target is among them.",
            y_label="share of prompts",
            from_zero=True,
        ),
        _by_step(
            history,
            {"matched": "matched"},
            title="Matched depth",
            caption="Number of first codes that the nearest candidate shares with the target.",
            y_label="codes",
            from_zero=True,
        ),
        _by_step(
            history,
            {"diversity": "diversity"},
            title="Diversity of the candidates",
            caption="Share of the codes after the common first codes of two candidates, mean over "
            "pairs.",
            y_label="share of codes",
            from_zero=True,
        ),
    )


def _policy(history: AlignmentHistory) -> list[Part]:
    entropies = {
        name: f"code {name.removeprefix('entropy_')}"
        for name in history.parts
        if name.startswith("entropy_")
    }
    return _known(
        _by_step(
            history,
            {"kl": "KL"},
            title="Distance from the reference",
            caption="Mean divergence of the policy from the one before the training, or from the "
            "one that follows it, at the prefixes of the candidates.",
            y_label="nats",
            from_zero=True,
        ),
        _by_step(
            history,
            entropies,
            title="Entropy by code",
            caption="Entropy of the choice of the next code, at the prefixes of the candidates.",
            y_label="nats",
            from_zero=True,
        ),
        _by_step(
            history,
            {"clipped": "clipped"},
            title="Clipped codes",
            caption="Share of codes whose probability has moved so far from that of the rollouts "
            "that they are clipped and give no gradient.",
            y_label="share of codes",
            from_zero=True,
        ),
        _by_step(
            history,
            {"target_log_prob": "target"},
            title="Likelihood of the target",
            caption="Mean log-probability of the item that came next.",
            y_label="nats",
        ),
    )


def _losses(history: AlignmentHistory) -> list[Part]:
    return _known(
        *(
            _by_step(
                history,
                {name: name},
                title=f"Loss: {name}",
                caption=caption,
                y_label="loss",
            )
            for name, caption in (
                ("policy", "Minus the clipped advantages, and the weighted divergence."),
                ("value", "Squared error of the values against their targets."),
                ("likelihood", "Negative log-likelihood of the next semantic ID, lowered too."),
            )
        )
    )


def _cost(history: AlignmentHistory) -> list[Part]:
    rates, what = history.rollouts_per_s, "candidates"
    if rates is None:
        rates, what = history.prompts_per_s, "prompts"
    return _known(
        _by_step(
            history,
            {"tokens": "tokens"},
            title="Tokens of the rollouts",
            caption="Backbone positions that the search spent after the prompt.",
            y_label="tokens per prompt",
            from_zero=True,
        ),
        _chart_of(
            history.steps,
            {what: rates},
            title="Speed",
            caption=f"{what.capitalize()} searched for, judged and learned from; without "
            "validations.",
            y_label=f"{what} per second",
            from_zero=True,
        ),
    )


def _by_step(
    history: AlignmentHistory,
    labels: Mapping[str, str],
    *,
    title: str,
    caption: str,
    y_label: str,
    from_zero: bool = False,
) -> Chart | None:
    """Draws parts of the log against steps; None if the log has none of these parts.

    Args:
        labels: label of each part, by its name in the log.
    """
    return _chart_of(
        history.steps,
        {label: history.parts[name] for name, label in labels.items() if name in history.parts},
        title=title,
        caption=caption,
        y_label=y_label,
        from_zero=from_zero,
    )


def _chart_of(
    steps: Sequence[int],
    values: Mapping[str, Sequence[float]],
    *,
    title: str,
    caption: str,
    y_label: str,
    from_zero: bool,
) -> Chart | None:
    if not steps or not values:
        return None
    xs = tuple(map(float, steps))
    return Chart(
        title=title,
        caption=caption,
        x_label="step",
        y_label=y_label,
        curves=tuple(Curve(label=label, x=xs, y=tuple(ys)) for label, ys in values.items()),
        from_zero=from_zero,
    )


def _known(*charts: Chart | None) -> list[Part]:
    return [chart for chart in charts if chart is not None]


def _compression(compression: AdvantageCompression) -> list[Part]:
    """Shows compression by depth as a chart and a table, and all or some parents as a cloud."""
    depths = compression.by_depth
    if not depths:
        return []
    xs = tuple(float(at.depth) for at in depths)
    return [
        Chart(
            title="Spread of the advantage by depth",
            caption="Below a prefix with several children: how far advantages part these, as "
            "standard deviation over them, mean over prefixes.",
            x_label="codes of the parent",
            y_label="spread of the advantage",
            curves=(
                Curve(label="whole group", x=xs, y=tuple(at.group_spread for at in depths)),
                Curve(label="siblings", x=xs, y=tuple(at.sibling_spread for at in depths)),
            ),
            from_zero=True,
        ),
        _cloud(compression),
        Table(
            caption="Prefixes of candidate sets that have at least two children. Children differ: "
            "share of them whose children differ in mean reward. Overlap: share of their codes "
            "that two candidates below share.",
            columns=(
                *("codes of the parent", "parents", "children differ", "overlap"),
                *("spread, whole group", "spread, siblings"),
            ),
            rows=tuple(
                (
                    str(at.depth),
                    at.num_parents,
                    at.informative,
                    at.overlap,
                    at.group_spread,
                    at.sibling_spread,
                )
                for at in depths
            ),
        ),
    ]


def _cloud(compression: AdvantageCompression) -> Chart:
    order = np.argsort(compression.overlaps, kind="stable")
    step = -(-len(order) // _MAX_POINTS)
    order = order[::step]
    xs = tuple((100 * compression.overlaps[order]).tolist())
    shown = "" if step == 1 else f"; one of {step} prefixes is shown"
    return Chart(
        title="Spread of the advantage by overlap",
        caption="A prefix with several children is a point, by how much the candidates below it "
        f"share{shown}.",
        x_label="codes that candidates below share (%)",
        y_label="spread of the advantage",
        curves=tuple(
            Curve(label=label, x=xs, y=tuple(spreads[order].tolist()), is_joined=False)
            for label, spreads in (
                ("whole group", compression.group_spreads),
                ("siblings", compression.sibling_spreads),
            )
        ),
        from_zero=True,
    )
