"""A tiny shop in the raw form of every importer: the files as their sources write them."""

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sidestep.data.dataset import Dataset
from sidestep.data.importers.amazon import import_amazon
from sidestep.data.importers.imported import Imported
from sidestep.data.importers.lcrec import import_lcrec
from sidestep.data.importers.lists import import_lists
from sidestep.data.importers.log import Thinning
from sidestep.data.importers.minionerec import import_minionerec, minionerec_files
from sidestep.data.importers.movielens import import_movielens
from sidestep.data.importers.p5 import import_p5
from sidestep.data.importers.recbole import import_recbole
from sidestep.data.importers.rows import import_rows
from sidestep.data.importers.table import import_table


@dataclass(frozen=True)
class Format:
    """The format of one source: its files by name, and a function that imports a folder of them."""

    name: str
    files: dict[str, bytes]
    import_from: Callable[[Path], Dataset | Imported]

    def write(self, folder: Path) -> Path:
        """Writes the valid files."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        return folder


def dataset_of(done: Dataset | Imported) -> Dataset:
    """The imported dataset, without the counts of rows that were left out."""
    return done.dataset if isinstance(done, Imported) else done


def json_lines(rows: list[dict[str, object]]) -> bytes:
    """One JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_array(lines: bytes) -> bytes:
    """The objects of some lines as one array."""
    return b"[" + b",\n".join(lines.splitlines()) + b"]\n"


def python_lines(rows: list[dict[str, object]]) -> bytes:
    """One Python literal per line, as the metadata of 2014."""
    return "".join(f"{row!r}\n" for row in rows).encode()


def gzipped(data: bytes) -> bytes:
    """Gzips data without a time, so that every call gives the same bytes."""
    return gzip.compress(data, mtime=0)


REVIEWS_2014 = [
    {
        "reviewerID": reviewer,
        "asin": asin,
        "reviewerName": 'Ann "A" O\'Hara',
        "helpful": [0, 2],
        "reviewText": "Nice,\tand größer — \\o/\n{really}",
        "overall": stars,
        "summary": "ok",
        "unixReviewTime": day * 86_400,
        "reviewTime": "01 2, 1970",
    }
    for reviewer, asin, stars, day in [
        ("A2B", "0000000042", 5.0, 3),
        ("A1A", "B000000001", 4.0, 3),
        ("A2B", "B000000001", 2.0, 1),
        ("A1A", "0000000042", 1.0, 3),
        ("A1A", "B00000000X", 5.0, 2),
    ]
]
META_2014: list[dict[str, object]] = [
    {
        "asin": "0000000042",
        "categories": [["Toys & Games", "Puzzles"], ["Toys & Games", "Games", "Dice"]],
        "title": "Children&#39;s &quot;Dice&quot;",
        "description": 'It\'s <b>round</b>,\n  "really" &amp;amp; 1 < 2',
        "price": 3.99,
        "salesRank": {"Toys & Games": 211_836},
        "related": {"also_bought": ["B00000000X"]},
    },
    {"asin": "B000000009", "title": "Bought by nobody"},
    {"asin": "B000000001", "title": "Größe", "brand": "Acme", "categories": [["Toys & Games"]]},
]
REVIEWS_2018 = [{**review, "verified": True, "vote": "2"} for review in REVIEWS_2014]
META_2018: list[dict[str, object]] = [
    {
        "category": ["Toys &amp; Games", "Puzzles", "</span></span>"],
        "description": ["First <br />part.", "", "Second."],
        "title": "Dice &amp; More",
        "brand": "Acme",
        "feature": ["Six sides", "Wood"],
        "rank": "12 in Toys",
        "also_buy": ["B00000000X"],
        "asin": "0000000042",
    },
    {"title": "var aPageStart = (new Date()).getTime();", "asin": "B000000001", "brand": ""},
    {"title": "Dice again", "asin": "0000000042"},
]
REVIEWS_2023 = [
    {
        "rating": stars,
        "title": "ok",
        "text": "Größe\n",
        "images": [],
        "asin": asin,
        "parent_asin": parent,
        "user_id": user,
        "timestamp": time,
        "helpful_vote": 0,
        "verified_purchase": True,
    }
    for user, asin, parent, stars, time in [
        ("AGK", "B01", "P01", 5.0, 1_588_687_728_923),
        ("AHV", "B02", "P01", 3.0, 1_588_687_728_923),
        ("AGK", "B03", "P02", 4.0, 1_588_687_728_922),
    ]
]
META_2023: list[dict[str, object]] = [
    {
        "main_category": "All Beauty",
        "title": "Soap",
        "average_rating": 4.8,
        "features": ["Soft", "Green"],
        "description": ["A soap."],
        "price": None,
        "images": [{"thumb": "https://example.com/1.jpg"}],
        "store": "Howard",
        "categories": ["Beauty", "Bath"],
        "details": {"Brand": "Howard"},
        "parent_asin": "P01",
    },
    {"title": None, "store": None, "features": [], "categories": [], "parent_asin": "P02"},
]

U_DATA = b"196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t5\t881250949\n"
U_ITEM = (
    "242|Kolya (1996)|24-Jan-1997||http://us.imdb.com/M/title-exact?Kolya%20(1996)|"
    + "|".join("1" if flag in (5, 8) else "0" for flag in range(19))
    + "\n302|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M|"
    + "|".join("1" if flag == 0 else "0" for flag in range(19))
    + "\n"
).encode("latin-1")
RATINGS_DAT = b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n"
MOVIES_DAT = (
    "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
    "1193::Ça commence aujourd'hui (1999)::Drama\n"
    "7::Seen by nobody (2000)::Comedy\n"
).encode("latin-1")
RATINGS_CSV = b"userId,movieId,rating,timestamp\r\n1,2,3.5,1112486027\r\n2,29,0.5,1112484676\r\n"
MOVIES_CSV = (
    'movieId,title,genres\r\n2,"City of Lost Children, The (Cité des enfants, La) (1995)",'
    "Adventure|Sci-Fi\r\n29,Unknown,(no genres listed)\r\n"
).encode()

INTER = (
    b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    b"u1\ti2\t4\t881250949\nu2\ti1\t3.0\t881250950.0\nu1\ti1\t\t881250948\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:float\tclass:token_seq\n"
    "i1\tToy &amp; Story\t1995.0\tAnimation Children's Comedy\ni2\tÇa\t\tDrama\ni3\tX\t2000\t\n"
).encode()

LISTS_CSV = (
    b"user_id,item_ids,timestamp\nu1,\"['a', 'b']\",3\nu2,\"['b']\",2\nu1,\"['c', 'a']\",1\n"
)
LISTS_JSONL = json_lines(
    [
        {"user_id": "u1", "item_ids": ["a", "b"], "timestamp": [3, 4]},
        {"user_id": "u2", "item_ids": ["b"], "timestamp": [2]},
    ]
)
LISTS_TSV = b"user_id\titem_ids\ttimestamp\nu1\ta b\t3 4\nu2\tb\t2\n"

TABLE_CSV = b'user_id,item_id,t,v\nann,x,3,5\nbob,"y, z",1,2.5\nann,x,2,\n'
TABLE_ITEMS_CSV = b'item_id,title\nx,"A 5"" pipe"\n"y, z",Y\n'
TABLE_TSV = b'user_id\titem_id\tt\tv\nann\tx\t3\t5\nbob\t"y\tz"\t1\t2.5\n'
TABLE_ITEMS_TSV = b'item_id\ttitle\nx\tA, B\n"y\tz"\tY\n'
TABLE_JSONL = json_lines(
    [
        {"user_id": "ann", "item_id": "x", "t": 3, "v": 5.0},
        {"user_id": "bob", "item_id": "y", "t": 1, "v": None},
    ]
)
TABLE_ITEMS_JSONL = json_lines([{"item_id": "x", "title": None}, {"item_id": "y", "title": "Y"}])


MINIONEREC_CSV = (
    "user_id,history_item_title,item_title,history_item_id,item_id,history_item_sid,item_sid\n"
    "A1,\"['Tape, 2\"\"', 'Größe']\",Vise,\"[0, 1]\",2,\"['<a_0>', '<a_1>']\",<a_2>\n"
    "A2,['Vise'],Größe,[2],1,['<a_2>'],<a_1>\n"
).encode()
MINIONEREC_INFO = '<a_0><b_0>\tTape, 2"\t0\n<a_1><b_1>\tGröße\t1\n<a_2><b_2>\tVise\t2\n'.encode()


ROWS_CSV = b"""user_id,history,target
u1,"{a,b}",c
u2,"['a']",b
u1,"{a,b,c}",a
"""
ROWS_JSONL = json_lines(
    [
        {"user_id": "u1", "history": ["a", "b", "c", "a"], "target": "b"},
        {"user_id": "u3", "history": [], "target": "a"},
    ]
)


def _parquet(columns: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


LISTS_PARQUET = _parquet(
    {"user_id": ["u1", "u2"], "item_ids": [["a", "b"], ["b"]], "timestamp": [[3, 4], [2]]}
)
TABLE_PARQUET = _parquet({"user_id": ["a", "b"], "item_id": [1, 2], "t": [1, 2], "v": [1.0, None]})
TABLE_ITEMS_PARQUET = _parquet({"item_id": [2, 1], "title": ["Y", None]})


def _amazon(reviews: str, meta: str) -> Callable[[Path], Imported]:
    return lambda folder: import_amazon(
        folder / reviews, folder / meta, thinning=Thinning(min_value=1.5, duplicates="last")
    )


def _table(suffix: str) -> Callable[[Path], Imported]:
    return lambda folder: import_table(
        folder / f"log.{suffix}", time="t", value="v", items_path=folder / f"items.{suffix}"
    )


def _lists(name: str) -> Callable[[Path], Imported]:
    return lambda folder: import_lists(folder / name, time="timestamp")


FORMATS = [
    Format(
        "amazon-2014",
        {
            "reviews_Toys_5.json.gz": gzipped(json_lines(REVIEWS_2014)),
            "meta_Toys.json.gz": gzipped(python_lines(META_2014)),
        },
        _amazon("reviews_Toys_5.json.gz", "meta_Toys.json.gz"),
    ),
    Format(
        "amazon-2018",
        {
            "Toys.json.gz": gzipped(json_lines(REVIEWS_2018)),
            "meta_Toys.json.gz": gzipped(json_lines(META_2018)),
        },
        _amazon("Toys.json.gz", "meta_Toys.json.gz"),
    ),
    Format(
        "amazon-2023",
        {
            "All_Beauty.jsonl": json_lines(REVIEWS_2023),
            "meta_All_Beauty.jsonl": json_lines(META_2023),
        },
        _amazon("All_Beauty.jsonl", "meta_All_Beauty.jsonl"),
    ),
    Format("ml-100k", {"u.data": U_DATA, "u.item": U_ITEM}, import_movielens),
    Format("ml-1m", {"ratings.dat": RATINGS_DAT, "movies.dat": MOVIES_DAT}, import_movielens),
    Format("ml-20m", {"ratings.csv": RATINGS_CSV, "movies.csv": MOVIES_CSV}, import_movielens),
    Format("recbole", {"shop.inter": INTER, "shop.item": ITEM}, import_recbole),
    Format(
        "minionerec",
        {f"{part}/Shop_5.csv": MINIONEREC_CSV for part in ("train", "valid", "test")}
        | {"info/Shop_5.txt": MINIONEREC_INFO},
        lambda folder: import_minionerec(minionerec_files(folder)),
    ),
    Format(
        "rows",
        {
            "train.csv": ROWS_CSV,
            "test.jsonl": ROWS_JSONL,
            "items.json": '{"a": {"title": "Größe"}, "b": {"title": "B"}}'.encode(),
        },
        lambda folder: import_rows(
            {"train": folder / "train.csv", "test": folder / "test.jsonl"},
            items_path=folder / "items.json",
        ),
    ),
    Format("lists-csv", {"lists.csv": LISTS_CSV}, _lists("lists.csv")),
    Format("lists-tsv", {"lists.tsv": LISTS_TSV}, _lists("lists.tsv")),
    Format("lists-jsonl", {"lists.jsonl": LISTS_JSONL}, _lists("lists.jsonl")),
    Format("lists-parquet", {"lists.parquet": LISTS_PARQUET}, _lists("lists.parquet")),
    Format("table-csv", {"log.csv": TABLE_CSV, "items.csv": TABLE_ITEMS_CSV}, _table("csv")),
    Format("table-tsv", {"log.tsv": TABLE_TSV, "items.tsv": TABLE_ITEMS_TSV}, _table("tsv")),
    Format(
        "table-jsonl",
        {"log.jsonl": TABLE_JSONL, "items.jsonl": TABLE_ITEMS_JSONL},
        _table("jsonl"),
    ),
    Format(
        "table-parquet",
        {"log.parquet": TABLE_PARQUET, "items.parquet": TABLE_ITEMS_PARQUET},
        _table("parquet"),
    ),
    Format(
        "table-gz",
        {"log.csv.gz": gzipped(TABLE_CSV), "items.csv.gz": gzipped(TABLE_ITEMS_CSV)},
        _table("csv.gz"),
    ),
    Format(
        "table-parts",
        {"log.parquet/part-0.parquet": TABLE_PARQUET, "log.parquet/part-1.parquet": TABLE_PARQUET}
        | {"items.parquet": TABLE_ITEMS_PARQUET},
        _table("parquet"),
    ),
    Format(
        "table-json",
        {
            "log.json": json_array(TABLE_JSONL),
            "items.json": json_array(TABLE_ITEMS_JSONL),
        },
        _table("json"),
    ),
    Format(
        "lcrec",
        {
            "Shop.inter.json": b'{"ann": [1, 0, 1], "bob": [0]}',
            "Shop.item.json": '{"0": {"title": "Größe"}, "1": {"title": "B"}}'.encode(),
        },
        lambda folder: import_lcrec(folder / "Shop.inter.json", folder / "Shop.item.json"),
    ),
    Format(
        "p5",
        {
            "sequential_data.txt": b"1 1 2 3\n2 3 1\n",
            "item_terms.json": b'{"1": ["road-bike"], "2": ["saddle"], "3": ["brake", "cable"]}',
        },
        lambda folder: import_p5(folder / "sequential_data.txt", folder / "item_terms.json"),
    ),
]
