"""Item IDs: every way of looking IDs up finds the same indices."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidestep.catalog import item_ids
from sidestep.catalog.item_ids import ItemIds
from sidestep.padding import NO_ITEM

NEVER, ALWAYS = -(10**9), 10**9
WAYS = {
    "by a hash table": {"_SMALL": ALWAYS},
    "one after the other": {"_SMALL": NEVER, "_MANY": ALWAYS},
    "all at once": {"_SMALL": NEVER, "_MANY": 0},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)


@pytest.mark.parametrize("way", WAYS)
@given(known=st.lists(TEXTS, min_size=1, unique=True), other=st.lists(TEXTS))
def test_ids_are_found_in_every_way(way, known, other):
    ids = ItemIds.build(pa.array(known, pa.large_string()))
    asked = [*known[::-1], *other]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WAYS[way].items():
            patch.setattr(item_ids, name, value)
        found = ids.indices_of(asked)
    assert found.tolist() == [
        known.index(item_id) if item_id in known else NO_ITEM for item_id in asked
    ]
    assert ids.of(found[: len(known)]) == known[::-1]


def test_many_ids_of_a_large_catalog_are_found_without_a_table():
    """A catalog above the thresholds, as they are."""
    known = [f"item-{number}" for number in range(8_000)]
    ids = ItemIds.build(pa.array(known, pa.large_string()))
    asked = [f"item-{number}" for number in range(7_950, 8_050)]
    expected = [*range(7_950, 8_000), *[NO_ITEM] * 50]
    assert ids.indices_of(asked).tolist() == expected
    assert [int(ids.indices_of([item_id])[0]) for item_id in asked] == expected
