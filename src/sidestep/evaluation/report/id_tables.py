"""Tables of the quality of one or several sets of semantic IDs, side by side."""

from collections.abc import Callable, Mapping, Sequence

from sidestep.evaluation.id_collisions import Collisions
from sidestep.evaluation.id_quality import (
    Agreement,
    Balance,
    FanOut,
    FirstCode,
    IdQuality,
    LevelUse,
    PrefixDepth,
    Reconstruction,
)
from sidestep.evaluation.report.page import Section
from sidestep.evaluation.report.table import Entry, Table, number

_Row = tuple[Entry, ...]


def id_tables(qualities: Mapping[str, IdQuality]) -> list[Section]:
    """Makes one section per table. Each table fits 80 columns.

    The rows name their set of IDs if there are several sets. A table is left out if all its numbers
    are missing, because there are no vectors or no interactions.
    """
    sections = [
        _levels(qualities),
        _collisions(qualities),
        _prefixes(qualities),
        _vectors(qualities),
        _interactions(qualities),
        _first_codes(qualities),
    ]
    return [section for section in sections if section is not None]


def _section(
    title: str,
    lead: str,
    caption: str,
    columns: tuple[str, ...],
    rows: Mapping[str, Sequence[_Row]],
) -> Section | None:
    """Makes a section of one table; None if nothing was measured.

    Args:
        title: title of the section.
        lead: paragraph that explains the columns.
        caption: caption of the table.
        columns: names of the columns, without the column of the sets' names.
        rows: rows of each set, by the name of the set.
    """
    if all(entry is None for of_set in rows.values() for row in of_set for entry in row[1:]):
        return None
    if len(rows) == 1:
        # A single set needs no name: the first entry, such as the depth, is the header of the row.
        [of_set] = rows.values()
        shown = tuple((_header(row[0]), *row[1:]) for row in of_set)
    else:
        columns = ("IDs", *columns)
        shown = tuple((name, *row) for name, of_set in rows.items() for row in of_set)
    table = Table(caption=caption, columns=columns, rows=shown)
    return Section(title=title, lead=lead, parts=[table])


def _by_depth(
    qualities: Mapping[str, IdQuality], values: Callable[[PrefixDepth], _Row]
) -> dict[str, list[_Row]]:
    """Rows of each set, by its name: one row per depth, with the depth as its header."""
    return {name: [(at.depth, *values(at)) for at in ids.depths] for name, ids in qualities.items()}


def _header(entry: Entry) -> str:
    return number(entry) if isinstance(entry, int | float) else str(entry)


def _levels(qualities: Mapping[str, IdQuality]) -> Section | None:
    return _section(
        "Codes by level",
        "Used: share of the codebook's codes that items have. Perplexity: number of codes in equal "
        "use that would be as hard to guess; even: its share of the codebook. Largest: share of "
        "the items with the most common code. Gini: of training interactions over the codebook, 0 "
        "if all codes have equally many.",
        "How each level uses its codebook",
        ("level", "codes", "used", "perplexity", "even", "largest", "Gini"),
        {name: [_level(level) for level in ids.levels] for name, ids in qualities.items()},
    )


def _level(found: LevelUse) -> _Row:
    return (
        found.level,
        found.codebook_size,
        found.utilisation,
        found.perplexity,
        found.evenness,
        found.largest_share,
        found.gini,
    )


def _collisions(qualities: Mapping[str, IdQuality]) -> Section | None:
    found = next(iter(qualities.values())).collisions
    words = {name: ids.collisions.in_words() for name, ids in qualities.items()}
    return _section(
        "Collisions",
        "Shared: share of items whose ID others have too; by use: of training interactions with "
        "such items. HR and NDCG: the largest values within reach, because the items of one ID "
        "cannot be told apart. "
        + " ".join(told if len(words) == 1 else f"{name}: {told}" for name, told in words.items()),
        "Distinct IDs, items of the largest bucket, and what buckets cost",
        (
            *("distinct", "largest", "shared", "by use"),
            *(ceiling.metric for ceiling in found.ceilings),
        ),
        {name: [_collision(ids.collisions)] for name, ids in qualities.items()},
    )


def _collision(found: Collisions) -> _Row:
    return (
        found.distinct,
        found.largest,
        found.shared_items,
        found.shared_interactions,
        *(ceiling.honest for ceiling in found.ceilings),
    )


def _prefixes(qualities: Mapping[str, IdQuality]) -> Section | None:
    return _section(
        "Prefixes by depth",
        "Items per prefix: the median, the ninth decile, the largest. Children: codes that may "
        "follow, on average and at most. Forced: share of prefixes that only one code may follow.",
        "The trie at each depth",
        ("depth", "prefixes", "median", "90%", "max", "children", "most", "forced"),
        _by_depth(qualities, lambda at: _fan_out(at.fan_out)),
    )


def _fan_out(found: FanOut) -> _Row:
    _, _, median, _, most, largest = map(round, found.items)
    return (
        found.prefixes,
        median,
        most,
        largest,
        found.mean_children,
        found.max_children,
        found.forced,
    )


def _vectors(qualities: Mapping[str, IdQuality]) -> Section | None:
    return _section(
        "What prefixes know of the vectors",
        "Variance: share of the vectors' variance between prefixes, and by chance, for the same "
        "IDs dealt at random; error: squared error of the tokenizer's own reconstruction, relative "
        "to the variance. Near: share of the nearest neighbours by cosine that have the same "
        "prefix, and of any two items, by chance; lift: near by chance.",
        "Agreement with the items' vectors at each depth",
        ("depth", "variance", "chance", "error", "near", "chance", "lift"),
        _by_depth(
            qualities,
            lambda at: (*_reconstruction(at.reconstruction), *_agreement(at.neighbours)),
        ),
    )


def _interactions(qualities: Mapping[str, IdQuality]) -> Section | None:
    return _section(
        "What prefixes know of training",
        "Next: share of two different items that follow each other and have the same prefix, and "
        "of any two interactions with different items, by chance; lift: next by chance. "
        + _left_out(qualities)
        + "Gini of interactions over prefixes: 0 if "
        "all have as many. Perplexity: so many prefixes with equally many would be as hard to "
        "guess; even: its share of the prefixes.",
        "Agreement with, and balance of, training interactions at each depth",
        ("depth", "next", "chance", "lift", "Gini", "perplexity", "even"),
        _by_depth(qualities, lambda at: (*_agreement(at.next_items), *_balance(at.balance))),
    )


def _left_out(qualities: Mapping[str, IdQuality]) -> str:
    """Sentence on the pairs that the agreement with training leaves out.

    Their share depends on the training part alone, so it is the same for all sets of IDs.
    """
    repeats = next(iter(qualities.values())).repeats
    if not repeats:
        return ""
    return (
        f"An item that follows itself ({repeats:.1%} of what follows) is left out: it has the same "
        "prefix whatever the IDs. "
    )


def _first_codes(qualities: Mapping[str, IdQuality]) -> Section | None:
    return _section(
        "The first code of the next item",
        "Entropy: near that of a uniform code, a first code is hard to predict; near 0, it says "
        "little. After: entropy once the first code of the item before is known. Told: information "
        "from that code, minus the information that chance would show.",
        "Entropy in training, in bits",
        ("uniform", "entropy", "after", "told"),
        {name: [_first_code(ids.first_code)] for name, ids in qualities.items()},
    )


def _first_code(found: FirstCode | None) -> _Row:
    if found is None:
        return (None,) * 4
    return (
        found.uniform,
        found.entropy,
        found.conditional_entropy,
        found.information - found.information_by_chance,
    )


def _reconstruction(found: Reconstruction | None) -> _Row:
    if found is None:
        return (None,) * 3
    return (found.explained, found.by_chance, found.codebook_error)


def _agreement(found: Agreement | None) -> _Row:
    return (None,) * 3 if found is None else (found.share, found.chance, found.lift)


def _balance(found: Balance | None) -> _Row:
    return (None,) * 3 if found is None else (found.gini, found.perplexity, found.evenness)
