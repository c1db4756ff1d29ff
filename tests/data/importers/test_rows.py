import json

import polars as pl
import pytest

from sidestep.data.importers.rows import import_rows

TRAIN = [("u", [], "a"), ("u", ["a"], "b"), ("u", ["a", "b"], "c"), ("v", ["a"], "c")]
VALID = [("u", ["a", "b", "c"], "d")]
TEST = [("u", ["a", "b", "c", "d"], "e"), ("w", ["c"], "a")]
COLUMNS = {"user": "who", "history": "past", "target": "next"}


def written(folder, name, rows):
    """Writes a file of rows in the form that its suffix names."""
    path = folder / name
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(COLUMNS.values(), row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    else:
        users, pasts, targets = zip(*rows, strict=True)
        frame = pl.DataFrame({"who": users, "past": list(pasts), "next": targets})
        if path.suffix == ".parquet":
            frame.write_parquet(path)
        else:
            texts = ["{" + ",".join(past) + "}" for past in pasts]
            frame.with_columns(past=pl.Series(texts)).write_csv(path)
    return path


def sequences(done):
    histories = done.dataset.histories()
    ids = done.dataset.items.item_ids
    return {
        user: "".join(ids[item] for item in histories.of(row))
        for row, user in enumerate(histories.user_ids)
    }


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_rows_are_the_split(tmp_path, suffix):
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    paths = {part: written(tmp_path, f"{part}.{suffix}", rows) for part, rows in parts.items()}
    done = import_rows(paths, **COLUMNS)
    assert done.dataset.name == tmp_path.name
    assert done.dataset.items.item_ids == ("a", "b", "c", "d", "e")
    split = done.dataset.split
    assert split.train.histories.user_ids == ("u", "v")
    assert split.train.first_target.tolist() == [0, 1]
    assert split.train.num_targets == len(TRAIN)
    assert split.validation.targets.tolist() == [3]
    assert split.test.targets.tolist() == [4, 0]
    assert sequences(done) == {"u": "abcde", "v": "ac", "w": "ca"}
    assert done.remarks == ()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_list_of_targets_is_a_row_per_target_after_the_same_history(tmp_path, suffix):
    train = [(user, past, [target]) for user, past, target in TRAIN]
    test = [("u", ["a", "b", "c", "d"], ["e", "a", "e"]), ("w", ["c"], ["a", "b"])]
    paths = {"train": written(tmp_path, f"train.{suffix}", train),
             "test": written(tmp_path, f"test.{suffix}", test)}  # fmt: skip
    dataset = import_rows(paths, **COLUMNS).dataset
    rows, ids = dataset.split.test, dataset.items.item_ids
    assert rows.histories.user_ids == ("u", "u", "w", "w")
    pasts = ["".join(ids[item] for item in rows.histories.of(row)) for row in range(4)]
    assert pasts == ["abcd", "abcd", "c", "c"]
    assert [ids[item] for item in rows.targets] == ["e", "a", "a", "b"]


def test_a_list_of_targets_may_not_be_empty(tmp_path):
    path = written(tmp_path, "test.jsonl", [("u", ["a"], ["b", "c"]), ("v", ["a"], [])])
    with pytest.raises(ValueError, match=r"line 2: 'next' has no item; drop the row"):
        import_rows({"test": path}, **COLUMNS)


def test_without_validation_each_users_last_training_row_is_taken(tmp_path):
    paths = {part: written(tmp_path, f"{part}.csv", rows)
             for part, rows in (("train", TRAIN), ("test", TEST))}  # fmt: skip
    done = import_rows(paths, **COLUMNS)
    split = done.dataset.split
    assert split.train.num_targets == len(TRAIN) - 1
    assert split.validation.histories.user_ids == ("u",)
    assert split.validation.targets.tolist() == [2]
    assert split.test.targets.tolist() == [3, 0]
    assert done.dataset.items.item_ids == ("a", "b", "c", "e", "d")
    assert done.remarks == (
        "There is no valid file: each user's last training row (1 in all) is a row to choose by, "
        "and is not trained on.",
    )
    assert sequences(done)["u"] == "abcde"  # "d" is not repeated, as it was a target of no row


def test_a_training_file_alone_gives_all_parts(tmp_path):
    done = import_rows({"train": written(tmp_path, "train.csv", TRAIN)}, **COLUMNS)
    split = done.dataset.split
    assert (split.train.num_targets, split.validation.targets.tolist()) == (2, [1])
    assert split.test.targets.tolist() == [2]
    assert [remark[:25] for remark in done.remarks] == [
        "There is no test file: ea",
        "There is no valid file: e",
    ]
    alone = written(tmp_path, "one.csv", TRAIN[:1])
    with pytest.raises(
        ValueError, match=r"one\.csv: there is no test file, and 1 training rows are too few"
    ):
        import_rows({"train": alone}, **COLUMNS)


def test_a_test_file_alone_serves_to_evaluate(tmp_path):
    done = import_rows({"test": written(tmp_path, "test.csv", TEST)}, **COLUMNS)
    split = done.dataset.split
    assert (len(split.train), len(split.validation), len(split.test)) == (0, 0, 2)
    assert "nothing can be trained" in done.remarks[0]
    done.dataset.save(tmp_path / "dataset")
    loaded = type(done.dataset).load(tmp_path / "dataset")
    assert loaded.split.fingerprint() == split.fingerprint()


def test_items_keep_those_without_rows_and_without_texts(tmp_path):
    items = tmp_path / "items.json"
    items.write_text('{"z": {"title": "Z"}, "a": {"title": "A"}}')
    path = written(tmp_path, "train.csv", TRAIN)
    done = import_rows({"train": path}, **COLUMNS, items_path=items)
    assert done.dataset.items.frame.rows() == [("z", "Z"), ("a", "A"), ("b", None), ("c", None)]
    assert done.remarks[-1] == "2 items have no text."
    items.write_text('{"z": {"title": "Z"}}')
    with pytest.raises(ValueError, match=r"items\.json: none of the 3 items of .*train\.csv"):
        import_rows({"train": path}, **COLUMNS, items_path=items)


def test_histories_and_targets_that_share_no_item_are_told(tmp_path):
    rows = [(f"u{row}", ["Title"], "id") for row in range(20)]
    done = import_rows({"train": written(tmp_path, "train.csv", rows)}, **COLUMNS)
    assert done.remarks[0].startswith("No target, such as 'id', stands in any history")
    few = import_rows({"train": written(tmp_path, "few.csv", rows[:9])}, **COLUMNS)
    assert not any(remark.startswith("No target") for remark in few.remarks)


def test_what_is_no_row_is_refused_with_its_line(tmp_path):
    path = tmp_path / "train.csv"
    for cell, why in (("[a, ]", None), ("[a, null]", "is missing"), ("[a", "is no list")):
        path.write_text(f'who,past,next\nu,[],a\nu,"{cell}",b\n')
        if why is None:
            import_rows({"train": path, "valid": path, "test": path}, **COLUMNS)
            continue
        with pytest.raises(ValueError, match=rf"train\.csv, line 3.*{why}"):
            import_rows({"train": path}, **COLUMNS)
    path.write_text("who,past,next\nu,a,\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 2: next is missing"):
        import_rows({"train": path}, **COLUMNS)
    with pytest.raises(ValueError, match="there are no rows"):
        import_rows({}, name="x")
