import json
import shutil
from dataclasses import replace

import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.interactions import Interactions
from sidestep.data.items import ItemTable
from sidestep.data.splits import leave_one_out
from sidestep.data.users import UserTable


def small_dataset():
    return Dataset(
        interactions=Interactions.from_columns(
            user_ids=["bob", "ann", "bob", "bob"],
            item_ids=["z", "x", "y", "x"],
            timestamps=[3, 1, 2, 3],
            events=["buy", None, "view", "buy"],
        ),
        items=ItemTable(pl.DataFrame({"item_id": list("xyzw"), "title": ["X", "Y", "Z", None]})),
        name="small",
        sources={"small.csv": "0" * 64},
    )  # fmt: skip


def test_histories_are_chronological_item_indices():
    histories = small_dataset().histories()
    assert histories.user_ids == ("bob", "ann")
    assert [histories.of(row).tolist() for row in (0, 1)] == [[1, 2, 0], [0]]
    assert histories.timestamps.tolist() == [2, 3, 3, 1]
    assert histories.events.tolist() == ["view", "buy", "buy", ""]
    assert small_dataset().histories("item").of(0).tolist() == [1, 0, 2]


def test_what_nobody_knows_is_none():
    dataset = Dataset(
        interactions=Interactions.from_columns(user_ids=["u"], item_ids=["i"]),
        items=ItemTable.from_ids(["i"]),
        name="bare",
    )
    histories = dataset.histories()
    assert histories.timestamps is None
    assert histories.events is None


def test_a_dataset_without_interactions_has_no_users():
    dataset = Dataset(
        interactions=Interactions.from_columns(user_ids=[], item_ids=[]),
        items=ItemTable.from_ids(["i"]),
        name="empty",
    )
    assert len(dataset.histories()) == 0
    assert dataset.stats().mean_length == 0


def test_stats_count_by_hand():
    stats = small_dataset().stats()
    assert (stats.users, stats.items, stats.interactions) == (2, 4, 4)
    assert (stats.density, stats.mean_length) == (0.5, 2.0)


def test_items_nobody_knows_are_refused():
    interactions = Interactions.from_columns(user_ids=["u"] * 4, item_ids=["x", "z", "y", "v"])
    with pytest.raises(ValueError, match=r"2 items.*'y' in row 2"):
        Dataset(interactions=interactions, items=ItemTable.from_ids(["x", "z"]), name="torn")


def test_the_core_takes_its_items_along():
    dataset = Dataset(
        interactions=Interactions.from_columns(
            user_ids=["a", "a", "b", "b", "b"], item_ids=["2", "1", "1", "2", "3"]
        ),
        items=ItemTable.from_ids(["0", "1", "2", "3"]),
        name="five",
    )
    core = dataset.k_core(2)
    assert core.items.item_ids == ("1", "2")
    assert core.histories().of(0).tolist() == [1, 0]
    with pytest.raises(ValueError, match="five has no 4-core"):
        dataset.k_core(4)


def test_duplicates_leave_a_dataset_by_policy():
    dataset = Dataset(
        interactions=Interactions.from_columns(user_ids=["a"] * 3, item_ids=["x", "y", "x"]),
        items=ItemTable.from_ids(["x", "y"]),
        name="twice",
    )
    assert dataset.deduplicated("last").histories().of(0).tolist() == [1, 0]


def test_a_saved_dataset_loads_as_it_was(tmp_path):
    dataset = small_dataset()
    dataset.save(tmp_path / "small")
    loaded = Dataset.load(tmp_path / "small")
    assert loaded.interactions.frame.equals(dataset.interactions.frame)
    assert loaded.items.frame.equals(dataset.items.frame)
    assert (loaded.name, loaded.sources) == (dataset.name, dataset.sources)
    description = json.loads((tmp_path / "small" / "dataset.json").read_text())
    assert description["stats"]["interactions"] == 4


def test_saving_replaces_a_dataset_but_nothing_else(tmp_path):
    small_dataset().save(tmp_path / "old")
    small_dataset().k_core(1).save(tmp_path / "old")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(ValueError, match=r"letters: exists and is not a saved dataset; choose"):
        small_dataset().save(tmp_path / "letters")
    assert (tmp_path / "letters" / "dear.txt").read_text() == "Dear"


def with_split(dataset):
    return replace(dataset, split=leave_one_out(dataset.histories(), min_context=0))


def test_a_split_is_kept_with_its_dataset(tmp_path):
    dataset = with_split(small_dataset())
    dataset.save(tmp_path / "small")
    loaded = Dataset.load(tmp_path / "small")
    assert loaded.split.fingerprint() == dataset.split.fingerprint()
    assert loaded.split.test.targets.tolist() == [0]
    # If the dataset is saved again without a split, the folder has no split either.
    small_dataset().save(tmp_path / "small")
    assert Dataset.load(tmp_path / "small").split is None


def test_the_split_of_another_dataset_is_refused(tmp_path):
    with_split(small_dataset()).save(tmp_path / "small")
    with_split(small_dataset().k_core(1)).save(tmp_path / "other")
    shutil.rmtree(tmp_path / "small" / "split")
    (tmp_path / "other" / "split").rename(tmp_path / "small" / "split")
    with pytest.raises(ValueError, match=r"split of another dataset.*sidestep data split"):
        Dataset.load(tmp_path / "small")
    with pytest.raises(ValueError, match=r"the split names item 2, but there are 1"):
        replace(
            with_split(small_dataset()),
            interactions=Interactions.from_columns(user_ids=[], item_ids=[]),
            items=ItemTable.from_ids(["x"]),
        )


def test_a_thinned_dataset_leaves_its_split_behind():
    dataset = with_split(small_dataset())
    assert dataset.deduplicated("keep").split is not None
    assert dataset.deduplicated("first").split is None
    assert dataset.k_core(1).split is None


def test_the_hash_is_of_the_content(tmp_path):
    def digest(dataset, name):
        dataset.save(tmp_path / name)
        return json.loads((tmp_path / name / "dataset.json").read_text())["sha256"]

    first, again = digest(small_dataset(), "a"), digest(small_dataset(), "b")
    other = digest(small_dataset().deduplicated("first").k_core(1), "c")
    assert first == again
    assert first["items"] != other["items"]


@pytest.mark.parametrize("name", ["interactions.parquet", "items.parquet", "dataset.json"])
def test_damage_to_any_file_is_found(tmp_path, name):
    dataset = small_dataset()
    dataset.save(tmp_path / "small")
    file = tmp_path / "small" / name
    whole = file.read_bytes()
    for size in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 3):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=name):
            Dataset.load(tmp_path / "small")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        Dataset.load(tmp_path / "small")


def test_content_changed_behind_the_description_is_found(tmp_path):
    dataset = small_dataset()
    dataset.save(tmp_path / "small")
    changed = dataset.items.frame.with_columns(pl.col("title").str.to_lowercase())
    changed.write_parquet(tmp_path / "small" / "items.parquet")
    with pytest.raises(ValueError, match=r"items\.parquet: not the content"):
        Dataset.load(tmp_path / "small")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match="does not describe a saved dataset"):
        Dataset.load(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format_version": 1, "name": "x"}')
    with pytest.raises(ValueError, match=r"sources.*missing"):
        Dataset.load(tmp_path)


def test_a_sample_has_whole_users_in_their_order_and_all_items():
    users = [f"u{number % 50}" for number in range(200)]
    dataset = Dataset(
        interactions=Interactions.from_columns(
            user_ids=users, item_ids=[f"i{number % 7}" for number in range(200)]
        ),
        items=ItemTable.from_ids([f"i{number}" for number in range(9)]),
        name="many",
        users=UserTable(pl.DataFrame({"user_id": ["u3", "u4", "u49"], "age": ["1", "2", "3"]})),
    )
    dataset = replace(dataset, split=leave_one_out(dataset.histories(), min_context=0))
    drawn = dataset.sampled(20, seed=3)
    kept = drawn.histories()
    assert len(kept) == len(set(kept.user_ids)) == 20
    assert sorted(kept.user_ids, key=users.index) == list(kept.user_ids)
    everyone = dataset.histories()
    for row, user in enumerate(kept.user_ids):
        whole = everyone.of(everyone.user_ids.index(user))
        assert kept.of(row).tolist() == whole.tolist()
    assert len(drawn.items) == 9
    assert drawn.split is None
    assert set(drawn.users.frame["user_id"]) == {"u3", "u4", "u49"} & set(kept.user_ids)
    assert dataset.sampled(20, seed=3).histories().user_ids == kept.user_ids
    assert dataset.sampled(20, seed=4).histories().user_ids != kept.user_ids
    assert dataset.sampled(50).histories().user_ids == everyone.user_ids


@pytest.mark.parametrize("number", [0, 3])
def test_a_sample_of_nobody_or_of_more_users_than_there_are_is_refused(number):
    with pytest.raises(ValueError, match="small has 2 users; choose a number from 1 to 2"):
        small_dataset().sampled(number)
