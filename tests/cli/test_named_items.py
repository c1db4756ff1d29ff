"""Items whose IDs hold commas or have blanks around them, in all commands that name items."""

import json

import pytest

from tests.cli.commands import call, refused, run

GENRES = ["War|Drama", "Sci-Fi, Fantasy", "Drama", "Comedy"]
ITEMS = ["B,1", " B 2 ", "C3", "D4"]
"""Item IDs, from the most popular item on."""


@pytest.fixture(scope="module")
def popular(tmp_path_factory):
    """A run of popularity."""
    folder = tmp_path_factory.mktemp("popular")
    rows = [f'u{user},"{item}"' for user in range(9) for item in ITEMS[: len(ITEMS) - user // 3]]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    (folder / "config.yaml").write_text("kind: popularity\n")
    texts = [f'"{item}","{genre}"' for item, genre in zip(ITEMS, GENRES, strict=True)]
    (folder / "items.csv").write_text("\n".join(["item_id,genre", *texts]) + "\n")
    imported = ("import", "table", folder / "log.csv", "--items", folder / "items.csv")
    run(*imported, "--out", folder / "dataset")
    trained = ("train", "--config", folder / "config.yaml", "--dataset", folder / "dataset")
    run(*trained, "--out", folder / "run")
    return folder / "run"


def answered(*arguments):
    done = call("recommend", *arguments, "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    return answer["history"], {item["item_id"] for item in answer["items"]}, done.stderr


@pytest.mark.parametrize(
    "given",
    [
        ['"B,1"," B 2 ",C3'],
        ["B,1", " B 2 ", "C3"],
        ['"B,1"', '" B 2 ",C3'],
    ],
)
def test_a_history_names_them_with_quotes_or_one_by_one(popular, given):
    options = [word for value in given for word in ("--history", value)]
    history, items, said = answered(popular, *options, "--exclude-seen")
    assert history == ["B,1", " B 2 ", "C3"]
    assert items == {"D4"}
    assert "dropped" not in said


def test_what_is_left_out_names_them_too(popular):
    asked = (popular, "--history", "C3")
    assert answered(*asked, "--exclude", '"B,1",D4')[1] == {" B 2 ", "C3"}
    assert answered(*asked, "--exclude", "B,1", "--exclude", " B 2 ")[1] == {"C3", "D4"}


def test_what_is_available_stands_in_a_file_and_may_be_unknown(popular, tmp_path):
    stock = tmp_path / "stock.txt"
    stock.write_text('B,1\r\n B 2 \n  "D4"\nlost\n\n')
    asked = (popular, "--history", "C3", "--available", stock)
    _, items, said = answered(*asked)
    assert items == {"B,1", " B 2 ", "D4"}
    assert "--available names what is no item of the catalog: lost." in said
    _, items, said = answered(*asked, "--exclude", "gone,D4")
    assert items == {"B,1", " B 2 "}
    assert "--exclude names what is no item of the catalog: gone." in said
    stock.write_text("".join(f"lost-{number}\n" for number in range(9)))
    message = refused("recommend", *asked)
    assert "lost-0, lost-1, lost-2, lost-3, lost-4 and 4 more" in message
    assert "available names no item of the catalog" in message


def test_filters_leave_items_by_their_texts(popular):
    asked = (popular, "--history", "C3")
    assert answered(*asked, "--where", "genre=Drama")[1] == {"B,1", "C3"}
    assert answered(*asked, "--where", "genre=Drama", "--exclude-seen")[1] == {"B,1"}
    both = ("--where", "genre=War,Comedy", "--where", 'genre="Sci-Fi, Fantasy"')
    _, items, said = answered(*asked, *both)
    assert items == {"B,1", " B 2 ", "D4"}
    assert "3 of 10 items were found, which are all that may be recommended" in said
    message = refused("recommend", *asked, "--where", "gnre=Drama")
    assert "--where: the catalog has no column 'gnre'; there are genre." in message
    message = refused("recommend", *asked, "--where", "genre=Opera")
    assert "--where: no item has 'Opera' in the column 'genre'" in message
    assert "--where 'Opera': write column=value" in refused("recommend", *asked, "--where", "Opera")


def test_items_are_retired_by_such_names(popular, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run("retire", popular, "--items", "B,1", "--items", " B 2 ", "--out", one)
    assert answered(one, "--history", "C3")[1] == {"C3", "D4"}
    run("retire", one, "--items", '"B,1"', "--restore", "--out", two)
    assert answered(two, "--history", "C3")[1] == {"B,1", "C3", "D4"}
    assert "--items names no item" in refused(
        "retire", two, "--items", ",", "--out", tmp_path / "3"
    )


def test_an_appended_item_is_named_and_the_next_step_quotes_for_the_shell(popular, tmp_path):
    (tmp_path / "new.json").write_text('{"E, 5": {}}')
    out = tmp_path / "grown"
    done = call("append", popular, "--items", tmp_path / "new.json", "--out", out)
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"sidestep recommend {out} --history '\"B,1\"'" in done.stderr
    assert answered(out, "--history", '"E, 5"')[0] == ["E, 5"]


def test_a_user_of_a_folder_of_runs_is_told_to_name_one_of_them(shop):
    assert "name one of the runs in it, such as" in refused("recommend", shop, "--user", "user-0")
