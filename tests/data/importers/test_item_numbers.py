import polars as pl
import pytest

from sidestep.data.importers.item_numbers import read_item_numbers


def table(folder, text):
    path = folder / "margins.csv"
    path.write_text(text)
    return path


def test_numbers_come_in_the_order_of_the_items_and_other_rows_are_ignored(tmp_path):
    path = table(tmp_path, "worth,item_id,name\n2.5,b,B\n-1,c,C\n0.5,a,A\n")
    assert read_item_numbers(path, ["a", "b"]).tolist() == [0.5, 2.5]
    parquet = tmp_path / "margins.parquet"
    pl.DataFrame({"item_id": [7, 3], "margin": [1, 2]}).write_parquet(parquet)
    assert read_item_numbers(parquet, ["3", "7"], column="margin").tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_id,worth\na,1\n", "1 of 2 items have no worth, such as 'b'"),
        ("item_id,worth\na,1\nb,\n", "1 of 2 items have no worth, such as 'b'"),
        ("item_id,worth\na,1\nb,2\na,3\n", "line 4: the item 'a' stands twice"),
        ("item_id,worth\na,1\nb,cheap\n", "line 3: worth 'cheap' is not a number; correct it"),
        ("item_id,worth\na,1\nb,inf\n", "line 3: worth .* is not a number"),
        ("item_id,price\na,1\nb,2\n", "there is no column 'worth'"),
    ],
)
def test_a_table_that_lacks_a_number_is_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_item_numbers(table(tmp_path, text), ["a", "b"])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_item_numbers(tmp_path / "nowhere.csv", ["a"])
