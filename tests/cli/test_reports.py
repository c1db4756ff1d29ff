import io
import json
import shutil

import pytest
from rich.console import Console

from sidestep.cli.console import comparison
from sidestep.evaluation.compare import compare
from sidestep.evaluation.results import read_per_user
from tests.browser import problems
from tests.cli.commands import call, refused, run


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory):
    """The run of `shop`, and a run of popularity on the same rows."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "config.yaml").write_text("kind: popularity\nmax_history: 10\n")
    out = folder / "popularity"
    config = ("--config", folder / "config.yaml", "--dataset", shop / "dataset")
    run("train", *config, "--out", out)
    run("evaluate", out, "--split", "test")
    return shop / "beam", out


def test_an_evaluation_is_a_page_with_all_that_is_known(runs, tmp_path):
    done = call("evaluate", runs[0], "--report", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert f"Wrote {tmp_path / 'page.html'}." in done.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    for expected in (
        *(
            "transformer (beam) on shop, validation",
            "Where the search loses the target",
            "code 1",
            "user-",
        ),
        *("Popular and rare items", "training.epochs", "SHA-256 of interactions", "ms per user"),
    ):
        assert expected in page, expected


def test_a_comparison_is_a_page_that_a_browser_shows_well(browser, runs, tmp_path):
    page = tmp_path / "deep" / "page.html"
    found = json.loads(
        run(
            "compare",
            *runs,
            "--split",
            "test",
            "--reference",
            "popularity",
            "--report",
            page,
            "--json",
        )
    )
    assert f"{found[0]['estimates']['HR@10']['mean']:.4f}" in page.read_text(encoding="utf-8")
    for width in (1280, 400):
        assert problems(browser, page, width=width, scheme="light") == []


def test_runs_that_only_the_test_has_judged_are_compared_on_request(runs):
    message = refused("compare", *runs)
    assert f"sidestep evaluate {runs[1]} --split validation" in message
    assert "or compare those on test with --split test" in message


def test_a_file_carried_elsewhere_still_makes_a_page(runs, tmp_path):
    [file] = (runs[0] / "evaluations").glob("test-*/per_user.parquet")
    shutil.copy(file, tmp_path / "mine.parquet")
    run("compare", tmp_path / "mine.parquet", "--report", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Hit rate by length of the list" in page
    assert "Users in words" not in page


def test_a_dataset_that_is_gone_is_told(runs, shop, tmp_path):
    moved = tmp_path / "beam"
    shutil.copytree(runs[0], moved)
    info = json.loads((moved / "run.json").read_text())
    (moved / "run.json").write_text(json.dumps({**info, "dataset": str(tmp_path / "gone")}))
    done = call("compare", moved, "--report", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    assert "so the report shows no users in words" in done.stderr
    assert "Popular and rare items" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_is_no_place_for_a_page(runs, tmp_path):
    assert "is a folder" in refused("compare", *runs, "--split", "test", "--report", tmp_path)
    assert "is a folder" in refused("evaluate", runs[0], "--report", tmp_path)


def test_only_a_page_is_replaced_by_a_page(runs, tmp_path):
    table = tmp_path / "clicks.csv"
    table.write_text("user,item\n")
    for command in (
        ("compare", *runs, "--split", "test"),
        ("evaluate", runs[0]),
        ("scale", runs[0]),
    ):
        message = refused(*command, "--report", table)
        assert "there is a file that is no page, and it would be lost" in message
    assert table.read_text() == "user,item\n"
    page = tmp_path / "page.html"
    for _ in range(2):
        run("compare", *runs, "--split", "test", "--report", page)


@pytest.mark.parametrize(
    "option", [("--beams", 50), ("--search", "beam"), ("--codes", "text"), ("--beams", 7)]
)
def test_what_would_change_nothing_is_refused(runs, option):
    message = refused("evaluate", runs[1], *option)
    assert " ".join(map(str, option)) in message
    assert "this run is popularity" in message
    assert "leave the option out" in message


def test_an_exhaustive_search_has_no_beams(runs):
    message = refused("evaluate", runs[0], "--search", "exhaustive", "--beams", 7)
    assert "--beams 7: the search exhaustive has no use for it" in message
    assert "leave the option out" in message


@pytest.mark.parametrize("width", [58, 69, 80])
def test_the_table_of_a_narrow_terminal_keeps_its_numbers_whole(runs, width, monkeypatch):
    lists = [
        read_per_user(file)
        for folder in runs
        for file in (folder / "evaluations").glob("test-*/per_user.parquet")
    ]
    methods = compare(lists, reference="popularity", num_resamples=99)
    console = Console(width=width, file=io.StringIO())
    monkeypatch.setattr(comparison, "OUT", console)
    comparison.print_comparison("shop", methods, "NDCG@10")
    text = console.file.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    estimate = methods[0].estimates["NDCG@10"]
    for number in (
        f"{methods[0].estimates['HR@10'].mean:.4f}",
        f"{estimate.interval.low:.4f}–{estimate.interval.high:.4f}",
        f"{methods[0].tests['NDCG@10'].p_value:.4f}",
    ):
        assert number in text
    assert "popularity" in text
    assert text.count("method") == (2 if width < 70 else 1)
