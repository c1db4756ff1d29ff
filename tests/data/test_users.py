import polars as pl
import pytest

from sidestep.data.dataset import Dataset
from sidestep.data.importers.recbole import import_recbole
from sidestep.data.importers.table import import_table
from sidestep.data.users import UserTable

LOG = pl.DataFrame(
    {"user_id": ["u1", "u2", "u1"], "item_id": ["a", "b", "b"], "timestamp": [1, 2, 3]}
)
KNOWN = {"user_id": ["u2", "u9"], "country": ["SE", None], "age": ["31", "44"]}


def test_users_come_in_the_order_in_which_they_are_asked_for():
    found = UserTable(pl.DataFrame(KNOWN)).of(["u1", "u2", "u2"])
    assert found.rows() == [("u1", None, None), ("u2", "SE", "31"), ("u2", "SE", "31")]


def test_users_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match=r"user 'u2' stands twice in users, again in row 1"):
        UserTable(pl.DataFrame({"user_id": ["u2", "u2"]}))
    with pytest.raises(ValueError, match="users lack the column 'user_id'"):
        UserTable(pl.DataFrame({"item_id": ["u2"]}))


def test_a_frame_of_users_is_kept_in_the_folder(tmp_path):
    ages = {**KNOWN, "age": [31, 44]}
    dataset = Dataset.from_frames(LOG, users=pl.DataFrame(ages))
    dataset.save(tmp_path / "shop")
    loaded = Dataset.load(tmp_path / "shop")
    assert loaded.users.frame.to_dict(as_series=False) == KNOWN
    assert loaded.users.columns == ("country", "age")


def test_a_dataset_without_users_has_the_files_of_before(tmp_path):
    Dataset.from_frames(LOG).save(tmp_path / "shop")
    assert Dataset.load(tmp_path / "shop").users is None
    names = {path.name for path in (tmp_path / "shop").iterdir()}
    assert names == {"interactions.parquet", "items.parquet", "dataset.json"}


def test_damaged_users_are_refused(tmp_path):
    Dataset.from_frames(LOG, users=pl.DataFrame(KNOWN)).save(tmp_path / "shop")
    pl.DataFrame({**KNOWN, "age": ["13", "44"]}).write_parquet(tmp_path / "shop/users.parquet")
    with pytest.raises(ValueError, match=r"users.parquet: not the content"):
        Dataset.load(tmp_path / "shop")


def test_a_table_of_users_is_imported_with_its_own_name_of_the_ids(tmp_path):
    LOG.write_csv(tmp_path / "log.csv")
    pl.DataFrame(KNOWN).rename({"user_id": "who"}).write_csv(tmp_path / "people.csv")
    done = import_table(
        tmp_path / "log.csv",
        time="timestamp",
        users_path=tmp_path / "people.csv",
        users_user="who",
    )
    assert done.dataset.users.frame.to_dict(as_series=False) == KNOWN
    assert set(done.dataset.sources) == {"log.csv", "people.csv"}


def test_a_user_that_stands_twice_in_a_file_is_refused_with_its_line(tmp_path):
    LOG.write_csv(tmp_path / "log.csv")
    (tmp_path / "people.csv").write_text("user_id,age\nu1,3\nu2,4\nu1,5\n")
    with pytest.raises(ValueError, match=r"people.csv, line 4: user 'u1' stands in an earlier row"):
        import_table(tmp_path / "log.csv", time="timestamp", users_path=tmp_path / "people.csv")


def test_the_users_of_recbole_are_read_beside_the_interactions(tmp_path):
    (tmp_path / "shop.inter").write_text("user_id:token\titem_id:token\nu1\ta\nu2\tb\n")
    (tmp_path / "shop.user").write_text("user_id:token\tage:token\tgender:token\nu1\t24\tM\n")
    users = import_recbole(tmp_path).dataset.users
    assert users.frame.to_dicts() == [{"user_id": "u1", "age": "24", "gender": "M"}]
    (tmp_path / "shop.user").write_text("user_id:token\tage:token\nu1\t24\nu1\t25\n")
    with pytest.raises(ValueError, match="user 'u1' stands twice"):
        import_recbole(tmp_path)
