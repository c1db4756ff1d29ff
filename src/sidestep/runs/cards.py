"""Cards of runs: the card of a bundle, with the evaluations that its run keeps."""

from __future__ import annotations

from pathlib import Path

from sidestep.bundle.card import made_for, read_card, signed, with_license
from sidestep.bundle.card_facts import CardMetric, CardResult, facts_of, plain
from sidestep.bundle.card_text import Form, card_body
from sidestep.bundle.layout import CARD
from sidestep.bundle.manifest import MANIFEST
from sidestep.evaluation.words import value_in_words
from sidestep.files import file_sha256
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import note
from sidestep.runs.folder import RunFolder
from sidestep.runs.kept_evaluations import PER_USER, kept_beside

with imported_when_used():
    from sidestep.evaluation import compare as comparing
    from sidestep.evaluation import results

METRICS = ("HR@1", "HR@5", "HR@10", "HR@50", "NDCG@5", "NDCG@10", "MRR")
"""The metrics of a card, where the lists are long enough for them."""

_PLAIN_BEAM = "beam"


def card_of(
    bundle: Path,
    *,
    measured: Path | None = None,
    repository: str | None = None,
    license: str | None = None,
    form: Form = "bundle",
) -> str:
    """The card of a bundle as it should be published.

    The card is made anew, with all evaluations of this very bundle that its run keeps. In two cases
    the card that lies in the folder stays: somebody has changed the card, or the folder knows no
    evaluation and the card was made for this very bundle, so that the card may know more.

    Args:
        bundle: its folder.
        measured: the folder of the bundle that was evaluated, where it is another one that
            recommends the same; None where it is this one.
        repository: OWNER/NAME on the hub; None where the bundle goes elsewhere.
        license: an identifier; None leaves the licence out, or as it is.
        form: of the folder that the card describes. An exported language model always gets a new
            card, with the results of plain beams alone: nothing else is left of the bundle.

    Raises:
        FileNotFoundError: a file of the bundle is gone.
        ValueError: the bundle is damaged, or `license` is given and somebody has changed the card.
    """
    facts = facts_of(bundle)
    found = results_of(measured or bundle, plain_beams=form == "language-model")
    there = read_card(bundle) if form == "bundle" else None
    origin = None if there is None else made_for(there)
    if there is not None and origin is None:
        if license is not None:
            raise ValueError(
                f"{bundle / CARD}: somebody has changed this card; write the licence into its "
                "front matter, and leave --license out."
            )
        note(
            f"{bundle / CARD} was changed by hand and stays as it is. To have it made again with "
            "the latest evaluations, delete it."
        )
        return there
    if there is not None and not found and origin == facts.manifest_sha256:
        return there if license is None else with_license(there, license)
    body = card_body(facts, found, repository=repository, license=license, form=form)
    return signed(body, facts.manifest_sha256)


def results_of(bundle: Path, *, plain_beams: bool = False) -> list[CardResult]:
    """The evaluations of a bundle that its run keeps, those on test rows first.

    Evaluations of an earlier bundle of the run are left out.

    Args:
        bundle: its folder; one that lies in no run has no evaluations.
        plain_beams: leave out whatever was not measured by a beam without anything beside it.

    Raises:
        ValueError: an evaluation is damaged.
    """
    run = RunFolder(bundle.absolute().parent)
    if run.bundle != bundle.absolute() or not run.is_run():
        return []
    sha256 = file_sha256(bundle / MANIFEST)
    found = []
    for file in sorted(run.path.glob(f"evaluations/*/{PER_USER}")):
        if kept_beside(file).get("bundle") != sha256:
            continue
        per_user = results.read_per_user(file)
        setting = per_user.setting
        if plain_beams and (setting.search != _PLAIN_BEAM or setting.ranker is not None):
            continue
        found.append(_result(per_user))
    return sorted(found, key=lambda result: result.split != "test")


def _result(per_user: results.PerUser) -> CardResult:
    [method] = comparing.compare([per_user])
    return CardResult(
        dataset=plain(per_user.dataset) or "unnamed",
        split=per_user.split,
        method=per_user.method,
        setting=_in_words(per_user.setting),
        excludes_seen=per_user.setting.exclude_seen,
        num_rows=method.num_rows,
        num_users=method.num_users,
        metrics={
            name: CardMetric(
                mean=method.estimates[name].mean,
                low=method.estimates[name].interval.low,
                high=method.estimates[name].interval.high,
            )
            for name in METRICS
            if name in method.estimates
        },
    )


def _in_words(setting: results.Setting) -> str:
    """The search of an evaluation, without names that might be paths."""
    if setting.search is None:
        words = ["no search"]
    else:
        words = [f"search {plain(setting.search) or 'of its own'}"]
    told = {
        "beams": setting.beams,
        "candidates": setting.k_plus,
        "likelihood weight": setting.likelihood_weight,
        "budget": setting.budget,
        "weight of the ranker": setting.ranker,
    }
    words += [f"{name} {value_in_words(value)}" for name, value in told.items() if value]
    options = None if setting.search_options is None else plain(setting.search_options)
    if options is not None:
        words.append(options)
    if setting.users != "all":
        words.append(f"{setting.users:,} fixed random users")
    if setting.strategy is not None and plain(setting.strategy) is not None:
        words.append(f"split {setting.strategy}")
    return ", ".join(words)
