import pytest

from sidestep.data.importers.log import Thinning
from sidestep.data.importers.recbole import import_recbole

from .formats import FORMATS, INTER, ITEM

by_name = {source.name: source for source in FORMATS}


@pytest.fixture
def shop(tmp_path):
    return by_name["recbole"].write(tmp_path)


def rows_of(done):
    return done.dataset.interactions.frame.select("user_id", "item_id", "timestamp", "value").rows()


def test_fields_are_found_by_their_names_whatever_their_types(shop):
    done = import_recbole(shop)
    assert rows_of(done) == [
        ("u1", "i1", 881250948, None),
        ("u1", "i2", 881250949, 4.0),
        ("u2", "i1", 881250950, 3.0),
    ]
    assert done.dataset.items.frame.to_dicts() == [
        {"item_id": "i2", "movie_title": "Ça", "release_year": None, "class": "Drama"},
        {
            "item_id": "i1",
            "movie_title": "Toy & Story",
            "release_year": "1995.0",
            "class": "Animation Children's Comedy",
        },
    ]
    assert done.dataset.name == "shop"
    assert done.remarks == ("1 items with texts but without interactions are left out.",)


def test_decimals_of_a_second_become_milliseconds(shop):
    (shop / "shop.inter").write_bytes(INTER.replace(b"950.0", b"950.25"))
    assert [row[2] for row in rows_of(import_recbole(shop))] == [
        *(881250948000, 881250949000, 881250950250)
    ]


def test_a_field_without_any_text_is_one_of_nulls(shop):
    (shop / "shop.item").write_bytes(b"item_id:token\tclass:token_seq\ni1\t\ni2\t\n")
    assert import_recbole(shop).dataset.items.frame["class"].to_list() == [None, None]


def test_large_whole_times_keep_their_last_digit(shop):
    (shop / "shop.inter").write_bytes(
        b"user_id:token\titem_id:token\ttimestamp:float\n"
        b"u\ta\t1588687728923000002\nu\tb\t1588687728923000001\n"
    )
    (shop / "shop.item").unlink()
    assert rows_of(import_recbole(shop))[0][1:3] == ("b", 1588687728923000001)


def test_other_names_and_absent_fields(tmp_path):
    path = tmp_path / "s.inter"
    path.write_bytes(b"session_id:token\ttrack:token\ns\tb\ns\ta\n\ts\n")
    done = import_recbole(path, user="session_id", item="track")
    assert rows_of(done) == [("s", "b", None, None), ("s", "a", None, None)]
    assert done.left_out == {"lack a user": 1}
    with pytest.raises(ValueError, match=r"there is no field 'at'; there are \['session_id'"):
        import_recbole(path, user="session_id", item="track", time="at")
    with pytest.raises(ValueError, match="no values that could be at least 4"):
        import_recbole(path, user="session_id", item="track", thinning=Thinning(min_value=4.0))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("shop.inter", b"user_id\titem_id\nu\ti\n", "line 1: 'user_id' is not name:type"),
        ("shop.inter", b"user_id:token\titem_id:text\nu\ti\n", "line 1: 'item_id:text' is not"),
        ("shop.inter", b"user_id:token\tuser_id:token\nu\ti\n", "two fields are called 'user_id'"),
        ("shop.inter", INTER.replace(b"item_id:token", b"item_id_list:token_seq"), "no field"),
        ("shop.inter", INTER.replace(b"item_id:token", b"item_id:token_seq"), "a whole sequence"),
        ("shop.inter", INTER + b"u1\ti2\n", "line 5: 2 fields where 4 are expected"),
        ("shop.inter", INTER + b"u1\ti2\t4\tsoon\n", "line 5: timestamp 'soon' is not a number"),
        ("shop.inter", INTER + b"u1\ti2\t4\t1e30\n", "shop.inter.* does not fit into 64 bits"),
        ("shop.inter", INTER + b"u1\t\xff\t4\t1\n", "line 5: not UTF-8"),
        ("shop.inter", INTER.split(b"\n")[0], "there are no rows"),
        ("shop.item", ITEM + b"i1\t\t\t\n", "shop.item: item 'i1' stands twice, in its rows 1 and"),
        ("shop.item", ITEM + b"\ta\t\t\n", "shop.item, line 5: item_id is missing"),
        ("shop.item", ITEM.replace(b"\ni1", b"\ni8").replace(b"\ni2", b"\ni9"), "none of the 2"),
    ],
)  # fmt: skip
def test_bad_lines_are_refused_with_their_number(shop, name, data, message):
    (shop / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as refusal:
        import_recbole(shop)
    assert str(shop / name) in str(refusal.value)


def test_a_folder_must_hold_one_file_of_interactions(shop, tmp_path):
    (shop / "shop.test.inter").write_bytes(INTER)
    with pytest.raises(ValueError, match=r"several \*\.inter: \['shop.inter', 'shop.test.inter'\]"):
        import_recbole(shop)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there is no \*\.inter in it"):
        import_recbole(tmp_path / "empty")
