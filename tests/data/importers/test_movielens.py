import pytest

from sidestep.data.importers.log import Thinning
from sidestep.data.importers.movielens import import_movielens

from .formats import FORMATS, MOVIES_DAT, U_ITEM

by_name = {source.name: source for source in FORMATS}


def rows_of(done):
    return done.dataset.interactions.frame.select("user_id", "item_id", "timestamp", "value").rows()


def test_100k_with_its_flags_as_genres(tmp_path):
    done = import_movielens(by_name["ml-100k"].write(tmp_path))
    assert rows_of(done) == [
        ("196", "242", 881250949, 3.0),
        ("196", "302", 881250949, 5.0),
        ("186", "302", 891717742, 3.0),
    ]
    assert done.dataset.items.frame.rows() == [
        ("242", "Kolya (1996)", "Comedy, Drama"),
        ("302", "Misérables, Les (1995)", None),
    ]
    assert done.dataset.name == tmp_path.name
    assert sorted(done.dataset.sources) == ["u.data", "u.item"]


def test_1m_in_latin_1_and_10m_in_utf_8(tmp_path):
    folder = by_name["ml-1m"].write(tmp_path)
    done = import_movielens(folder)
    assert rows_of(done)[:2] == [("1", "1193", 978300760, 5.0), ("1", "661", 978302109, 3.0)]
    assert done.dataset.items.frame.rows() == [
        ("1193", "Ça commence aujourd'hui (1999)", "Drama"),
        ("661", "James and the Giant Peach (1996)", "Animation, Children's, Musical"),
    ]
    assert done.remarks == ("1 items with texts but without interactions are left out.",)
    (folder / "movies.dat").write_bytes(MOVIES_DAT.decode("latin-1").encode())
    again = import_movielens(folder)
    assert again.dataset.items.frame.equals(done.dataset.items.frame)


def test_20m_with_quoted_titles_and_few_stars_left_out(tmp_path):
    folder = by_name["ml-20m"].write(tmp_path)
    done = import_movielens(folder / "ratings.csv")
    assert rows_of(done) == [("1", "2", 1112486027, 3.5), ("2", "29", 1112484676, 0.5)]
    assert done.dataset.items.frame.rows() == [
        ("2", "City of Lost Children, The (Cité des enfants, La) (1995)", "Adventure, Sci-Fi"),
        ("29", "Unknown", None),
    ]
    few = import_movielens(folder, thinning=Thinning(min_value=3.5), name="ml")
    assert (few.dataset.name, len(few.dataset.interactions)) == ("ml", 1)
    assert few.left_out == {"have a value below 3.5 or none": 1}
    with pytest.raises(ValueError, match="no value of 6 or more"):
        import_movielens(folder, thinning=Thinning(min_value=6.0))


def test_ratings_alone_are_enough(tmp_path):
    folder = by_name["ml-1m"].write(tmp_path)
    (folder / "movies.dat").unlink()
    done = import_movielens(folder)
    assert done.dataset.items.text_columns == ()
    assert list(done.dataset.sources) == ["ratings.dat"]


@pytest.mark.parametrize(
    ("release", "name", "data", "message"),
    [
        ("ml-100k", "u.data", b"1\t2\t3\t4\n1\t2\t3\n", "line 2: 3 fields where 4 are expected"),
        ("ml-100k", "u.data", b"1\t2\t3\t4\n\nx\t2\t3\t4\n", "line 3: userId 'x' is not a whole"),
        ("ml-100k", "u.data", b"1\t2\t3\t4\n1\t2\t3\tsoon\n", "line 2: timestamp 'soon' is not"),
        ("ml-100k", "u.data", b"1\t2\tfive\t4\n", "line 1: rating 'five' is not a number"),
        ("ml-100k", "u.data", b"1\t2\t\xe9\t4\n", "line 1: not UTF-8"),
        ("ml-100k", "u.item", U_ITEM[:-20], "u.item, line 2: .* fields where 24 are expected"),
        ("ml-100k", "u.item", U_ITEM + U_ITEM, "item '242' stands twice, in its rows 1 and 3"),
        ("ml-1m", "ratings.dat", b"1:2:3:4\n", "line 1: 1 fields where 4"),
        ("ml-1m", "movies.dat", b"\n", "movies.dat: there are no rows"),
        ("ml-20m", "ratings.csv", b"user,movie\n1,2\n", r"line 1: the header must be .* \['user'"),
        ("ml-20m", "ratings.csv", b"userId,movieId,rating,timestamp\n", "there are no rows"),
    ],
)  # fmt: skip
def test_bad_lines_are_refused_with_their_number(tmp_path, release, name, data, message):
    folder = by_name[release].write(tmp_path)
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match=message) as refusal:
        import_movielens(folder)
    assert str(folder / name) in str(refusal.value)


def test_what_is_no_movielens_is_told_the_names_it_has(tmp_path):
    with pytest.raises(ValueError, match=r"u\.data, ratings\.dat, ratings\.csv; there is none"):
        import_movielens(tmp_path)
    with pytest.raises(ValueError, match="this is none of them"):
        import_movielens(tmp_path / "movies.dat")
