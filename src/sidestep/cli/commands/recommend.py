"""`sidestep recommend`: a run answers for one user, in words where there are titles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from sidestep.cli.console.output import OUT, print_json, say, table, warn
from sidestep.cli.options import WITH_COMMAS, AsJson
from sidestep.cli.search_options import (
    Beams,
    BudgetTimes,
    Candidates,
    LikelihoodWeight,
    Search,
    SearchOptions,
)
from sidestep.data.names import quoted_name
from sidestep.lazy_imports import imported_when_used
from sidestep.padding import NO_ITEM
from sidestep.runs.asked_user import AskedUser
from sidestep.runs.inputs import load_bundle
from sidestep.runs.named_items import (
    known_user,
    named_items,
    num_candidates,
    read_ids,
    wanted_values,
)
from sidestep.runs.searches import AskedSearch
from sidestep.runs.settings import LARGEST

with imported_when_used():
    from sidestep.bundle import eligibility, ranked_items
    from sidestep.bundle import loaded as recommenders
    from sidestep.catalog import catalog as catalogs

_SHOWN = 5
"""Unknown IDs that a note names."""


def recommend(
    run: Annotated[Path, typer.Argument(help="The run's folder, or a bundle.")],
    history: Annotated[
        list[str] | None,
        typer.Option(help=f"IDs of past items, oldest first, {WITH_COMMAS}."),
    ] = None,
    user: Annotated[str | None, typer.Option(help="A user of the dataset, instead.")] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(help="The dataset folder, for --user; default: the one of the run."),
    ] = None,
    times: Annotated[
        list[str] | None,
        typer.Option(
            help="Times of the items of --history, for a network that reads times: whole numbers "
            f"in the unit of the training, {WITH_COMMAS}."
        ),
    ] = None,
    moment: Annotated[
        str | None,
        typer.Option(
            help="When the user is recommended to, for a network that reads times: a number in the "
            "unit of the times, or a date. [default: not known]"
        ),
    ] = None,
    user_value: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="What is known of the user, for a network that reads columns of users; replaces "
            "the values of --user in the dataset.",
        ),
    ] = None,
    k: Annotated[
        int, typer.Option("--k", "-k", min=1, max=LARGEST, help="Length of the list.")
    ] = 10,
    search: Search = None,
    beams: Beams = None,
    candidates: Candidates = None,
    likelihood_weight: LikelihoodWeight = None,
    budget: BudgetTimes = None,
    search_options: SearchOptions = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the history.")
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help=f"IDs of further items to leave out, {WITH_COMMAS}."),
    ] = None,
    available: Annotated[
        Path | None,
        typer.Option(help="Recommend only these items: a text file with an ID per line."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="Recommend only items that have this value in a column of their texts, or list "
            f"it there with |, ; or commas. Several values of one column, {WITH_COMMAS}: any of "
            "them; several columns: all of them.",
        ),
    ] = None,
    new_places: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many of the places, the last ones, go to items that were appended after the "
            "training, ranked among themselves.",
        ),
    ] = 0,
    json: AsJson = False,
) -> None:
    """Recommend items after a history.

    Examples:

      sidestep recommend runs/scientific/transformer-0 --history 12,873,44 --k 5

      sidestep recommend runs/my/transformer --history '"B,1",C3' --exclude 'D,4' --exclude E5

      sidestep recommend runs/scientific/transformer-0 --user 17

      sidestep recommend runs/my/transformer --user u7 --exclude-seen --available in-stock.txt

      sidestep recommend runs/my/transformer --user u7 --where genre=Drama,War --where year=1999

      sidestep recommend runs/my/timed --user u7 --moment 2026-03-01

      sidestep recommend runs/my/timed --history B1,C3 --times 1772000000,1772003600
      --moment 1772366400

      sidestep recommend runs/my/described --history B1,C3 --user-value country=DE
      --user-value age=31

      sidestep recommend runs/my/prm --user u7 --search prm-beam

      sidestep recommend runs/my/value --user u7 --search ved --budget 2

      sidestep recommend runs/my/bundle-2 --user u7 --dataset runs/my/dataset --k 10 --new-places 2
    """
    if (history is None) == (user is None):
        raise ValueError("give either --history ITEM,ITEM or --user ID.")
    found = None if user is None else known_user(run, user, dataset)
    loaded = load_bundle(run)
    who = AskedUser.of_options(
        loaded,
        None if user is None or found is None else (user, found),
        history=history,
        times=times,
        moment=moment,
        values=user_value or (),
    )
    item_ids = who.item_ids
    asked = AskedSearch.of_options(
        search,
        beams=beams,
        candidates=candidates,
        likelihood_weight=likelihood_weight,
        budget=budget,
        options=search_options,
    )
    policy = asked.for_lists(loaded, k)
    if new_places > k:
        raise ValueError(
            f"--new-places {new_places}: the list has {k} places; lower it or raise -k."
        )
    if new_places and not loaded.num_new_items:
        raise ValueError(
            f"--new-places {new_places}: no item was appended to {run} after its training; leave "
            "the option out, or append items with 'sidestep append'."
        )
    unwanted = named_items(exclude or (), loaded.catalog)
    _tell_of_unknown("--exclude", loaded.catalog, unwanted)
    allowed = None if available is None else read_ids(available, loaded.catalog)
    _tell_of_unknown("--available", loaded.catalog, allowed or [])
    wanted = _filters(where or ())
    is_eligible = _eligible(loaded, allowed, wanted)
    [answer] = loaded.recommend(
        [item_ids],
        k,
        exclude_seen=exclude_seen,
        excluded=[unwanted] if unwanted else None,
        available=allowed,
        where=wanted,
        search=policy,
        num_new_places=new_places,
        times=None if who.times is None else [who.times],
        moments=None if who.moment is None else [who.moment],
        user_info=None if who.info is None else [who.info],
    )
    _tell_of_history(loaded, answer, item_ids)
    if len(answer.item_ids) < k:
        left_out = [*unwanted, *item_ids] if exclude_seen else unwanted
        _tell_of_length(
            answer, k, num_candidates=num_candidates(loaded.catalog, is_eligible, left_out)
        )
    num_new = sum(answer.is_new)
    if num_new < new_places:
        say(f"Note: {num_new} of {new_places} places went to new items; there are no more.")
    if json:
        print_json(_as_json(item_ids, answer))
        return
    _print(loaded, item_ids, answer)


def _filters(where: Sequence[str]) -> dict[str, list[str]]:
    """The wanted values by column; an error names the option."""
    try:
        return wanted_values(where)
    except ValueError as error:
        raise ValueError(f"--where {error}") from error


def _eligible(
    loaded: recommenders.LoadedRecommender,
    allowed: list[str] | None,
    wanted: dict[str, list[str]],
) -> np.ndarray | None:
    """The items that a list may hold, whoever it is for; an error names the option."""
    try:
        eligible = eligibility.Eligibility.of(allowed, wanted)
        mask = eligible.mask(loaded.catalog, loaded.catalog.num_items)
    except (KeyError, ValueError) as error:
        message = str(error.args[0])
        raise type(error)(f"--{message}" if message.startswith("where") else message) from error
    return None if mask is None else mask.numpy()


def _tell_of_unknown(option: str, catalog: catalogs.Catalog, item_ids: list[str]) -> None:
    """A note on the standard error where an option names what is not in the catalog."""
    unknown = [
        item_id
        for item_id, index in zip(item_ids, catalog.indices_of(item_ids), strict=True)
        if index == NO_ITEM
    ]
    if unknown:
        shown = ", ".join(map(quoted_name, unknown[:_SHOWN]))
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        say(f"Note: {option} names what is no item of the catalog: {shown}{more}.")


def _tell_of_history(
    loaded: recommenders.LoadedRecommender,
    answer: ranked_items.RankedItems,
    item_ids: list[str],
) -> None:
    """Notes on the standard error where not all of the history was understood."""
    if answer.num_unknown == len(item_ids):
        say("Note: nothing of the history is known, so these are items for anyone.")
        if not loaded.knows_empty_history:
            warn(
                "this network was trained to predict no user's first item, so that its list for "
                "users without a history means nothing. Train it with 'min_context: 0', or give "
                "such users the list of a run of kind popularity."
            )
    elif answer.num_unknown:
        say(
            f"Note: {answer.num_unknown} of {len(item_ids)} items of the history are not in the "
            "catalog and were dropped."
        )


def _tell_of_length(answer: ranked_items.RankedItems, k: int, *, num_candidates: int) -> None:
    """Says why a list is shorter than was asked for."""
    num_found = len(answer.item_ids)
    if num_candidates == 0:
        say("Note: every item of the catalog is left out, so there is none to recommend.")
    elif num_found == num_candidates:
        say(f"Note: {num_found} of {k} items were found, which are all that may be recommended.")
    else:  # only a search leaves items unseen
        say(f"Note: {num_found} of {k} items were found; more --beams may find more.")


def _as_json(item_ids: list[str], answer: ranked_items.RankedItems) -> dict[str, object]:
    titles = [None] * len(answer.item_ids) if answer.titles is None else answer.titles
    return {
        "history": item_ids,
        "unknown_items": answer.num_unknown,
        "score_kind": answer.score_kind,
        "tokens": answer.tokens,
        "items": [
            {"item_id": item_id, "score": score, "is_new": is_new, "title": title}
            for item_id, score, is_new, title in zip(
                answer.item_ids, answer.scores, answer.is_new, titles, strict=True
            )
        ],
    }


def _print(
    loaded: recommenders.LoadedRecommender, item_ids: list[str], answer: ranked_items.RankedItems
) -> None:
    indices = loaded.catalog.indices_of(item_ids)
    known: np.ndarray = indices[indices >= 0][-loaded.max_history :]
    past = loaded.catalog.ids_of(known)
    past_titles = (
        loaded.catalog.titles_of(known) if answer.titles is not None and len(known) else past
    )
    OUT.print(
        table(
            "History, oldest first",
            ["item", "title"],
            [[item_id, title] for item_id, title in zip(past, past_titles, strict=True)],
        )
    )
    titles = answer.item_ids if answer.titles is None else answer.titles
    rows = [
        [item_id, f"{title} (new)" if is_new else title, f"{score:.3f}"]
        for item_id, title, is_new, score in zip(
            answer.item_ids, titles, answer.is_new, answer.scores, strict=True
        )
    ]
    OUT.print(table("Recommended", ["item", "title", answer.score_kind], rows))
