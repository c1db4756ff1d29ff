"""MovieLens as GroupLens publishes it: 100K (`u.data`), 1M and 10M (`.dat`), 20M and later (CSV).

Harper and Konstan, "The MovieLens datasets: history and context", TiiS 2015. Times are seconds.
Many ratings of a user have the same time, because people rate page by page.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.importers.columns import Table, read_table
from sidestep.data.importers.delimited import first_fields, read_delimited
from sidestep.data.importers.imported import Imported, imported
from sidestep.data.importers.item_texts import refuse_repeated
from sidestep.data.importers.lines import OnProgress
from sidestep.data.importers.log import GrowingLog, Log, Thinning
from sidestep.data.importers.sources import listed

RATING_COLUMNS = ("userId", "movieId", "rating", "timestamp")

_NO_GENRES = ("(no genres listed)", "unknown")
_U_ITEM_GENRES = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The flags of `u.item` in their order, as `u.genre` lists them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """The form of one release: how it writes ratings, and the name of its file of movies."""

    ratings: str
    separator: str
    movies: str


_RELEASES = (
    _Release(ratings="u.data", separator="\t", movies="u.item"),
    _Release(ratings="ratings.dat", separator="::", movies="movies.dat"),
    _Release(ratings="ratings.csv", separator=",", movies="movies.csv"),
)


def import_movielens(
    path: Path,
    *,
    thinning: Thinning = Thinning(),  # noqa: B008 - frozen
    name: str | None = None,
    on_progress: OnProgress | None = None,
) -> Imported:
    """Imports ratings with the titles and genres of the movies.

    Args:
        path: the unpacked folder of a release, or its file of ratings. The file of movies is in the
            same folder; without it the items have no texts.
        thinning: which ratings are kept, for example those of 4 or more.
        name: name of the dataset; None takes that of the folder.
        on_progress: called from time to time with the position in the file of ratings.

    Raises:
        ValueError: if a file is invalid, or the folder holds no ratings; the message names the file
            and, if there is one, the line.
    """
    path, release = _ratings_file(path)
    log = _read_ratings(path, release, on_progress).thinned(thinning, str(path))
    movies_path = path.parent / release.movies
    has_movies = movies_path.is_file()
    return imported(
        log,
        _read_movies(movies_path) if has_movies else None,
        paths=(path, movies_path if has_movies else None),
        name=name or path.absolute().parent.name,
    )


def _ratings_file(path: Path) -> tuple[Path, _Release]:
    """Finds the file of ratings in a folder, or takes the file itself; tells its release."""
    for release in _RELEASES:
        if path.is_dir() and (path / release.ratings).exists():
            return path / release.ratings, release
        if not path.is_dir() and path.name == release.ratings:
            return path, release
    known = ", ".join(release.ratings for release in _RELEASES)
    where = "there is none of them in this folder" if path.is_dir() else "this is none of them"
    raise ValueError(f"{path}: ratings of MovieLens are called {known}; {where}.")


def _read_ratings(path: Path, release: _Release, on_progress: OnProgress | None) -> Log:
    fields = first_fields(path, release.separator)
    has_header = release.separator == ","
    if has_header and tuple(fields) != RATING_COLUMNS:
        raise ValueError(
            f"{path}, line 1: the header must be {','.join(RATING_COLUMNS)}, got {listed(fields)}; "
            "import other tables by the names of their columns."
        )
    growing = GrowingLog(path)
    for table in read_delimited(
        path, release.separator, RATING_COLUMNS, has_header=has_header, on_progress=on_progress
    ):
        growing.append(
            _whole_ids(table, "userId"),
            _whole_ids(table, "movieId"),
            table.moments("timestamp"),
            table.numbers("rating"),
        )
    return growing.log()


def _read_movies(path: Path) -> pl.DataFrame:
    if path.suffix == ".csv":
        table = read_table(path, ("movieId", "title", "genres"))
        genres = [_genres(text.split("|")) for text in table.frame["genres"]]
        frame = _movies(table, genres)
    else:
        frame = _dat_movies(path) if path.suffix == ".dat" else _u_item(path)
    refuse_repeated(path, frame["item_id"])
    return frame


def _dat_movies(path: Path) -> pl.DataFrame:
    frames = []
    for table in read_delimited(
        path, "::", ("movieId", "title", "genres"), has_header=False, encoding=_encoding(path)
    ):
        genres = [_genres(text.split("|")) for text in table.frame["genres"]]
        frames.append(_movies(table, genres))
    return pl.concat(frames)


def _u_item(path: Path) -> pl.DataFrame:
    flags = [f"is {genre}" for genre in _U_ITEM_GENRES]
    names = ("movieId", "title", "released", "released on video", "url", *flags)
    frames = []
    for table in read_delimited(path, "|", names, has_header=False, encoding=_encoding(path)):
        genres = [
            _genres([name for name, flag in zip(_U_ITEM_GENRES, row, strict=True) if flag == "1"])
            for row in table.frame.select(flags).iter_rows()
        ]
        frames.append(_movies(table, genres))
    return pl.concat(frames)


def _movies(table: Table, genres: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            _whole_ids(table, "movieId").alias("item_id"),
            table.texts("title").alias("title"),
            pl.Series("genres", genres, dtype=pl.String),
        ]
    )


def _whole_ids(table: Table, name: str) -> pl.Series:
    """Reads a column of IDs. All IDs of MovieLens are whole numbers."""
    ids = table.ids(name)
    is_wrong = ~ids.str.contains(r"^[0-9]+$")
    if is_wrong.any():
        row = is_wrong.arg_max()
        assert row is not None
        raise ValueError(
            f"{table.place(row)}: {name} {ids[row]!r:.50} is not a whole number; the line may be "
            "damaged, get the file again."
        )
    return ids


def _encoding(path: Path) -> str:
    """Encoding of a file: UTF-8 if possible, otherwise Latin-1, as the movies of 100K and 1M."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _genres(names: list[str]) -> str | None:
    return ", ".join(name for name in names if name and name not in _NO_GENRES) or None
