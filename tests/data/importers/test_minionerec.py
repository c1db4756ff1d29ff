import csv
import io
import json

import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.importers.minionerec import import_minionerec, minionerec_files

COLUMNS = (
    "user_id", "history_item_title", "item_title", "history_item_id", "item_id",
    "history_item_sid", "item_sid",
)  # fmt: skip
TITLES = ['Tape, 1.88" x 35 yd', "President's Special", "Glue – 8 ounce", "Caliper", "Vise"]
SIDS = [f"<a_{item}><b_{item * 2}><c_0>" for item in range(5)]
NAME = "Tools_and_Glue_5_2016-10-2018-11"


def part(rows):
    """Rows of a user, a history and a target, as MiniOneRec's pandas writes them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for user, history, target in rows:
        titles, ids = [TITLES[i] for i in history], list(history)
        sids = [SIDS[i] for i in history]
        writer.writerow([user, titles, TITLES[target], ids, target, sids, SIDS[target]])
    return out.getvalue()


PARTS = {
    "train": [("A1", [0], 1), ("A2", [2], 2), ("A1", [0, 1], 2), ("A1", [1, 2], 3)],
    "valid": [("A1", [2, 3], 0)],
    "test": [("A1", [3, 0], 4), ("A3", [1], 0)],
}


def shop(folder, parts=PARTS, info=True):
    """The folders of MiniOneRec: train, valid, test and info."""
    for name, rows in parts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{NAME}.csv").write_text(part(rows), encoding="utf-8")
    if info:
        (folder / "info").mkdir(exist_ok=True)
        lines = (f"{SIDS[i]}\t{TITLES[i]}\t{i}\n" for i in range(5))
        (folder / "info" / f"{NAME}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def imported(folder, category=None):
    return import_minionerec(minionerec_files(folder, category)).dataset


def test_the_rows_are_the_split_and_the_sequences_the_interactions(tmp_path):
    dataset = imported(shop(tmp_path))
    assert dataset.name == "Tools_and_Glue"
    assert dataset.items.frame["title"].to_list() == TITLES
    split = dataset.split
    train = split.train.histories
    assert train.user_ids == ("A1", "A2")
    assert [train.of(row).tolist() for row in range(2)] == [[0, 1, 2, 3], [2, 2]]
    assert split.train.num_targets == len(PARTS["train"])
    assert split.validation.histories.of(0).tolist() == [2, 3]
    assert split.test.targets.tolist() == [4, 0]
    histories = dataset.histories()
    assert histories.user_ids == ("A1", "A2", "A3")
    assert [histories.of(row).tolist() for row in range(3)] == [[0, 1, 2, 3, 0, 4], [2, 2], [1, 0]]
    assert len(dataset.sources) == 4


def test_the_split_survives_saving(tmp_path):
    dataset = imported(shop(tmp_path / "raw"))
    dataset.save(tmp_path / "dataset")
    loaded = Dataset.load(tmp_path / "dataset")
    assert loaded.split.fingerprint() == dataset.split.fingerprint()


def test_without_item_files_the_titles_of_the_rows_are_taken(tmp_path):
    shop(tmp_path, info=False)
    dataset = imported(tmp_path)
    # In the test file, item 1 of A3 is in a history only.
    assert dataset.items.item_ids == ("0", "1", "2", "3", "4")
    assert dataset.items.frame["title"].to_list() == TITLES
    lone = {**PARTS, "train": [("A2", [2], 2)], "valid": [("A1", [3], 0)]}
    assert imported(shop(tmp_path, lone)).items.frame["title"].to_list() == TITLES


def test_item_texts_of_the_index_folder_come_first(tmp_path):
    shop(tmp_path)
    (tmp_path / "index").mkdir()
    entries = {str(i): {"title": TITLES[i], "brand": "Norvik"} for i in range(5)}
    (tmp_path / "index" / "Tools_and_Glue.item.json").write_text(json.dumps(entries))
    assert imported(tmp_path).items.text_columns == ("title", "brand")


def test_items_may_be_named_by_text_and_files_lie_flat(tmp_path):
    header = "user_id,history_item_id,item_id\n"
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text(header + 'u,"[\'x\', ""y\'s""]",z\nv,[],x\n')
    dataset = imported(tmp_path)
    assert dataset.items.item_ids == ("z", "x", "y's")
    assert dataset.split.test.histories.of(0).tolist() == [1, 2]
    assert dataset.split.test.histories.lengths.tolist() == [2, 0]
    assert dataset.name == tmp_path.name


@pytest.mark.parametrize("cell", ["['x', 'y']", "['x' 'y']", "('x', 'y')"])
def test_a_history_written_by_numpy_or_as_a_tuple_is_the_same(tmp_path, cell):
    rows = f'user_id,history_item_id,item_id\nu,"{cell}",z\n'
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text(rows)
    split = imported(tmp_path).split
    assert split.test.histories.of(0).tolist() == [1, 2]


def test_a_history_may_be_empty_or_without_brackets(tmp_path):
    for name, cell in (("train", "0 1"), ("valid", ""), ("test", "nan")):
        (tmp_path / f"{name}.csv").write_text(f"user_id,history_item_id,item_id\nu,{cell},2\n")
    split = imported(tmp_path).split
    assert split.train.histories.of(0).tolist() == [0, 1, 2]
    assert split.validation.histories.of(0).tolist() == []
    assert split.test.histories.of(0).tolist() == []


def test_items_without_a_text_are_items_nevertheless(tmp_path):
    shop(tmp_path)
    more = '"[0, 9]"'
    path = tmp_path / "train" / f"{NAME}.csv"
    path.write_text(f"user_id,history_item_id,item_id\nA1,[0],1\nA1,{more},1\n")
    done = import_minionerec(minionerec_files(tmp_path))
    assert done.dataset.items.item_ids == ("0", "1", "2", "3", "4", "9")
    assert done.dataset.items.frame["title"][5] is None
    assert "1 items have no text." in done.remarks


def test_one_of_several_categories_is_named(tmp_path):
    shop(tmp_path)
    for name in PARTS:
        (tmp_path / name / "Office_5_2016.csv").write_text(part(PARTS[name]))
    with pytest.raises(ValueError, match=r"several categories, Office, Tools_and_Glue; name one"):
        minionerec_files(tmp_path)
    assert imported(tmp_path, "Office").name == "Office"
    with pytest.raises(ValueError, match=r"no train\.csv and no train/Toys\*\.csv"):
        minionerec_files(tmp_path, "Toys")


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[0, 1", r"line 3: history_item_id '\[0, 1' is no list"),
        ("['0' '1', '2']", "cannot be told to be one element or several"),
        ("{'a': 1}", "if this is an object"),
        ("[0, True]", "holds True, which is neither a text nor a whole number"),
        ("[0, 1.5]", r"holds 1\.5, which is neither"),
        ("[0, '']", "line 3: an item of 'history_item_id' is missing"),
        ("[0, None]", "line 3: an item of 'history_item_id' is missing"),
        ("[0, [1]]", r"'\[1\]' is no item"),
        ("[" * 5000, "is no list"),
        ("[__import__('os')]", "is no list"),
        ("[" + "7, " * 200_000 + "0", "is no list"),
    ],
)
def test_a_wrong_list_is_told_with_its_line(tmp_path, cell, message):
    shop(tmp_path)
    path = tmp_path / "train" / f"{NAME}.csv"
    path.write_text(f'user_id,history_item_id,item_id\nA1,[0],1\nA1,"{cell}",1\n')
    with pytest.raises(ValueError, match=message):
        imported(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a_0>\tTape\t0\n<a_1> Glue 1\n", "line 2: must hold a semantic ID, a title and an item"),
        ("<a_0>\tTape\t0\n<a_1>\tGlue\t\n", "line 2: must hold"),
        (
            "<a_0>\tTape\t0\n\n<a_1>\tGlue\t0\n",
            "line 3: item '0' stands in an earlier line as well, line 1",
        ),
    ],
)
def test_a_wrong_item_line_is_told(tmp_path, text, message):
    shop(tmp_path)
    (tmp_path / "info" / f"{NAME}.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        imported(tmp_path)


def test_a_title_may_hold_tabs_and_lines_end_in_any_way(tmp_path):
    shop(tmp_path)
    lines = (f"{SIDS[i]}\tA\ttitle {i}\t{i}\r\n" for i in range(5))
    (tmp_path / "info" / f"{NAME}.txt").write_text("".join(lines), newline="")
    assert imported(tmp_path).items.frame["title"][3] == "A\ttitle 3"
