from pathlib import Path

import numpy as np
import pytest

from sidestep.data.histories import Histories
from sidestep.data.splits import TrainingPart
from sidestep.evaluation.id_examples import id_examples
from sidestep.evaluation.id_quality import id_quality
from sidestep.evaluation.report.id_tables import id_tables
from sidestep.evaluation.report.ids import InspectedIds, id_charts, id_examples_in_words, id_page
from sidestep.evaluation.report.page import write_page

WORDS = ("green tea", "black tea", "tea <b>pot</b>", "cup")
VECTORS = np.array([[1.0, 0.0], [1.0, 0.1], [0.5, 0.5], [0.0, 1.0]])
TRAINING = TrainingPart(
    histories=Histories(
        items=np.array([0, 1, 3, 2, 2, 0]), offsets=np.array([0, 3, 6]), user_ids=("ann", "bob")
    ),
    first_target=np.array([1, 1]),
)


def inspected(ids: list[list[int]], *, is_bare: bool = False) -> InspectedIds:
    array = np.array(ids)
    return InspectedIds(
        quality=id_quality(
            array,
            (1_000,) * array.shape[1],
            training=None if is_bare else TRAINING,
            vectors=None if is_bare else VECTORS,
        ),
        examples=id_examples(array, WORDS, np.ones(4, dtype=int)),
        first_codes=array[:, 0],
        interactions=np.bincount(TRAINING.histories.items) * (not is_bare),
    )


SETS = {
    "learned": inspected([[0, 0], [0, 0], [0, 1], [1, 0]]),
    "a-name-longer-than-is-wise": inspected([[0, 0, 0], [1, 0, 0], [2, 0, 0], [999, 0, 0]]),
}


def test_one_set_needs_no_name():
    [first, *_] = id_tables({"learned": SETS["learned"].quality})
    [levels] = first.parts
    assert levels.columns[0] == "level"
    level, codes, used, _, _, largest, gini = levels.rows[0]
    assert (level, codes, used, largest) == ("1", 1000, 0.002, 0.75)
    # Interactions 5 and 1 of 1,000 codes: (997·1 + 999·5) / (1000·6).
    assert gini == pytest.approx(5992 / 6000)


def test_several_sets_have_a_name_in_every_row():
    for section in id_tables({name: ids.quality for name, ids in SETS.items()}):
        [made] = section.parts
        assert made.columns[0] == "IDs"
        assert {row[0] for row in made.rows} == set(SETS)


def test_tables_and_curves_without_numbers_are_left_out():
    bare = inspected([[0, 0], [0, 0], [0, 1], [1, 0]], is_bare=True)
    titles = [section.title for section in id_tables({"bare": bare.quality})]
    assert titles == ["Codes by level", "Collisions", "Prefixes by depth"]
    assert [chart.title for chart in id_charts({"bare": bare})] == [
        "Forced codes",
        "Items over first codes",
    ]


def test_the_table_of_training_says_what_it_leaves_out():
    tables = id_tables({name: ids.quality for name, ids in SETS.items()})
    leads = {section.title: section.lead for section in tables}
    # 0 1, 1 3, 2 2, 2 0: one pair of four is of one item.
    said = "An item that follows itself (25.0% of what follows) is left out"
    assert said in leads["What prefixes know of training"]


def test_each_set_says_what_its_collisions_are_worth():
    tables = id_tables({name: ids.quality for name, ids in SETS.items()})
    leads = {section.title: section.lead for section in tables}
    assert "learned: 1 items too many for their IDs." in leads["Collisions"]
    assert "a-name-longer-than-is-wise: Every item has an ID of its own" in leads["Collisions"]


def test_curves_hold_the_numbers_of_the_tables():
    charts = {chart.title: chart for chart in id_charts(SETS)}
    explained = charts["Variance explained by the prefix"].curves[0]
    assert explained.x == (1.0, 2.0)
    assert explained.y == tuple(
        at.reconstruction.explained for at in SETS["learned"].quality.depths
    )
    spread = charts["Training interactions over first codes"].curves[0]
    # Five of the six interactions are with items whose first code is 0.
    assert spread.y[:3] == pytest.approx((5 / 6, 1, 1))
    assert len(spread.x) == 1_000


def test_the_way_to_an_item_shows_what_else_might_have_followed():
    way = id_examples_in_words(SETS["learned"].examples)[-1]
    assert way.title == "The way to green tea"
    assert [(depth.items, depth.marked) for depth in way.lists] == [
        (("0 · 3 items: green tea", "1 · 1 item: cup"), (0,)),
        (("0 0 · 2 items: green tea", "0 1 · 1 item: tea <b>pot</b>"), (0,)),
    ]


def test_the_page_says_what_was_measured(tmp_path: Path):
    path = tmp_path / "ids.html"
    write_page(path, id_page("Semantic IDs of shop", {"Dataset": "shop"}, SETS))
    page = path.read_text(encoding="utf-8")
    assert page.count("<svg") == len(id_charts(SETS))
    for expected in (
        *("Codes by level", "a-name-longer-than-is-wise: Largest first codes", "0.7500"),
        "a recommender that always names the right ID",
        "tea &lt;b&gt;pot&lt;/b&gt;",
    ):
        assert expected in page, expected
