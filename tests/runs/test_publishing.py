"""Bundles are published with their cards and come back as they were, by folders and a fake hub."""

import json
import os
import shutil
import socket
import subprocess
import sys

import polars as pl
import pytest

import sidestep
from sidestep.bundle.card import made_for
from sidestep.bundle.layout import CARD, LAYOUT
from sidestep.data.synthetic import SyntheticShopConfig, synthetic_shop
from sidestep.evaluation.compare import compare
from sidestep.evaluation.results import read_per_user
from sidestep.files import file_sha256
from sidestep.runs.cards import METRICS, results_of
from sidestep.runs.publishing import is_repository, where_to
from tests.cli.commands import call, refused, run

hub = pytest.importorskip("sidestep.runs.hub", reason="the extra `hf` is not installed")
fake_hub = pytest.importorskip("tests.runs.fake_hub")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run of kind popularity with two evaluations."""
    folder = tmp_path_factory.mktemp("shop")
    invented, _ = synthetic_shop(SyntheticShopConfig(num_users=40, num_departments=1), 0)
    log = invented.interactions.frame.select("user_id", "item_id", timestamp=pl.int_range(pl.len()))
    log.write_csv(folder / "log.csv")
    run(
        *("import", "table", folder / "log.csv", "--user", "user_id", "--item", "item_id"),
        *("--time", "timestamp", "--name", "invented", "--out", folder / "dataset"),
    )
    asked = ("train", "--set", "kind=popularity", "--dataset", folder / "dataset")
    run(*asked, "--out", folder / "run")
    run("evaluate", folder / "run")
    run("evaluate", folder / "run", "--split", "test", "--exclude-seen")
    return folder / "run"


@pytest.fixture
def shop(evaluated, tmp_path):
    """A copy of the run, which a test may change."""
    return shutil.copytree(evaluated, tmp_path / "shop")


@pytest.fixture
def remote(monkeypatch):
    """A hub in memory, which stands for the real one."""
    made = fake_hub.FakeHub()
    monkeypatch.setattr(hub, "make_api", lambda *, writes: made)
    return made


def names(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


def lists(recommender):
    return recommender.recommend([["item-0"], []], k=5)


def test_a_folder_gets_the_bundle_and_a_card_with_all_evaluations(shop, tmp_path):
    shared = sidestep.push(shop, folder=tmp_path / "shared", license="mit")
    assert set(shared.names) == names(tmp_path / "shared") <= LAYOUT
    sizes = [(tmp_path / "shared" / name).stat().st_size for name in shared.names]
    assert shared.size_bytes == sum(sizes)
    text = (tmp_path / "shared" / CARD).read_text()
    assert "license: mit\n" in text
    assert "**test** of `invented`, 40 users: popularity" in text
    assert "Lists leave out items of the history." in text
    assert text.index("**test**") < text.index("**validation**")
    assert str(tmp_path) not in text
    assert "user-" not in text


def test_the_numbers_of_a_card_are_those_of_the_evaluations(shop):
    found = results_of(shop / "bundle")
    assert [result.split for result in found] == ["test", "validation"]
    for result in found:
        [file] = shop.glob(f"evaluations/{result.split}-*/metrics.json")
        kept = json.loads(file.read_text())["metrics"]
        assert set(result.metrics) == {name for name in METRICS if name in kept}
        for name, metric in result.metrics.items():
            assert metric.mean == pytest.approx(kept[name])
            assert metric.low <= metric.mean <= metric.high
    [file] = shop.glob("evaluations/test-*/*.parquet")
    [compared] = compare([read_per_user(file)])
    interval = compared.estimates["HR@10"].interval
    assert (found[0].metrics["HR@10"].low, found[0].metrics["HR@10"].high) == (
        interval.low,
        interval.high,
    )


def test_evaluations_of_an_earlier_bundle_are_left_out(shop, tmp_path):
    for file in shop.glob("evaluations/test-*/metrics.json"):
        file.write_text(json.dumps({**json.loads(file.read_text()), "bundle": "0" * 64}))
    assert [result.split for result in results_of(shop / "bundle")] == ["validation"]
    shutil.copytree(shop / "bundle", tmp_path / "alone")
    assert results_of(tmp_path / "alone") == []


def test_a_later_evaluation_gets_into_the_card_of_the_next_push(evaluated, shop, tmp_path):
    shutil.rmtree(shop / "evaluations")
    sidestep.push(shop, folder=tmp_path / "before")
    assert "No evaluation of this bundle" in (tmp_path / "before" / CARD).read_text()
    run("evaluate", shop, "--dataset", evaluated.parent / "dataset", "--split", "test")
    sidestep.push(shop, folder=tmp_path / "after")
    assert "**test** of `invented`" in (tmp_path / "after" / CARD).read_text()
    before, after = (file_sha256(tmp_path / name / "manifest.json") for name in ("before", "after"))
    assert before == after


def test_a_card_that_knows_more_than_the_folder_stays(shop, tmp_path):
    """A bundle that was pulled has no evaluations beside it, but its card tells of some."""
    sidestep.push(shop, folder=tmp_path / "shared")
    text = (tmp_path / "shared" / CARD).read_text()
    sidestep.push(tmp_path / "shared", folder=tmp_path / "again")
    assert (tmp_path / "again" / CARD).read_text() == text
    sidestep.push(tmp_path / "shared", folder=tmp_path / "licensed", license="mit")
    licensed = (tmp_path / "licensed" / CARD).read_text()
    assert "license: mit\n" in licensed
    assert "**test** of `invented`" in licensed
    assert made_for(licensed) == made_for(text)


def test_a_card_of_another_bundle_does_not_stay(shop, tmp_path):
    sidestep.push(shop, folder=tmp_path / "shared")
    card = (tmp_path / "shared" / CARD).read_text()
    run("retire", shop, "--items", "item-0", "--out", tmp_path / "retired")
    (tmp_path / "retired" / CARD).write_text(card)
    sidestep.push(tmp_path / "retired", folder=tmp_path / "again")
    text = (tmp_path / "again" / CARD).read_text()
    assert "No evaluation of this bundle" in text
    assert "Retired items, which no list holds: 1." in text


def test_a_card_that_somebody_changed_stays(shop, tmp_path):
    mine = (shop / "bundle" / CARD).read_text().replace("# ", "# My shop, ", 1)
    (shop / "bundle" / CARD).write_text(mine)
    said = " ".join(call("push", shop, "--folder", tmp_path / "shared").stderr.split())
    assert "was changed by hand and stays as it is" in said
    assert (tmp_path / "shared" / CARD).read_text() == mine
    message = refused("push", shop, "--folder", tmp_path / "other", "--license", "mit")
    assert "somebody has changed this card" in message
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_card_that_is_no_text_is_made_again(shop, tmp_path, content):
    (shop / "bundle" / CARD).unlink()
    if content is not None:
        (shop / "bundle" / CARD).write_bytes(content)
    sidestep.push(shop, folder=tmp_path / "shared")
    assert "**test** of `invented`" in (tmp_path / "shared" / CARD).read_text()


def test_there_and_back_by_a_folder_recommends_the_same(shop, tmp_path):
    sidestep.push(shop, folder=tmp_path / "shared")
    pulled = sidestep.pull(tmp_path / "shared", tmp_path / "pulled")
    assert pulled == tmp_path / "pulled"
    assert names(pulled) == names(tmp_path / "shared")
    assert lists(sidestep.load(pulled)) == lists(sidestep.load(shop))


def test_a_recommender_can_be_pushed_and_its_users_are_asked_for(tmp_path):
    log = pl.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"]})
    data = sidestep.Dataset.from_frames(log)
    shop = sidestep.train(data, {"kind": "popularity"})
    shop = shop.with_users(data.histories())
    with pytest.raises(ValueError, match=r"share them with users, .* with users=False"):
        sidestep.push(shop, folder=tmp_path / "asked")
    assert not list(tmp_path.iterdir())
    assert "users.parquet" not in sidestep.push(shop, folder=tmp_path / "no", users=False).names
    assert "users.parquet" in sidestep.push(shop, folder=tmp_path / "yes", users=True).names
    assert sidestep.load(tmp_path / "no").users is None
    assert len(sidestep.load(tmp_path / "yes").users) == 2
    assert "histories of known users" not in (tmp_path / "no" / CARD).read_text()


def test_a_bundle_without_its_users_keeps_the_evaluations(shop, tmp_path):
    loaded = sidestep.load(shop)
    known, _ = sidestep.data.histories.Histories.from_item_ids(
        {"u": ["item-0"]}, loaded.catalog.indices_of
    )
    loaded.with_users(known).save(shop / "bundle")
    for file in shop.glob("evaluations/*/metrics.json"):
        sha256 = file_sha256(shop / "bundle" / "manifest.json")
        file.write_text(json.dumps({**json.loads(file.read_text()), "bundle": sha256}))
    sidestep.push(shop, folder=tmp_path / "shared", users=False)
    assert "**test** of `invented`" in (tmp_path / "shared" / CARD).read_text()


def test_paths_of_this_machine_in_a_manifest_are_told(shop, tmp_path):
    file = shop / "bundle" / "manifest.json"
    content = json.loads(file.read_text())
    assert "Warning" not in call("push", shop, "--folder", tmp_path / "one").stderr
    content["training"]["adopted_from"] = "/home/me/model"
    file.write_text(json.dumps(content))
    said = " ".join(call("push", shop, "--folder", tmp_path / "two").stderr.split())
    assert "Warning: manifest.json of the bundle names a path of this machine" in said
    assert '"/home/me/model"' in said
    assert "/home/me" not in (tmp_path / "two" / CARD).read_text()


@pytest.mark.parametrize(
    ("target", "folder", "expected"),
    [
        ("me/shop", None, ("me/shop", None)),
        ("me/shop", "x", ("me/shop", "x")),
        ("./me/shop", None, (None, "me/shop")),
        ("/me", None, (None, "/me")),
        (None, "x", (None, "x")),
    ],
)
def test_a_target_is_a_repository_or_a_folder(target, folder, expected, tmp_path):
    repository, place = where_to(target, None if folder is None else tmp_path / folder)
    wanted = tmp_path / folder if folder is not None else expected[1]
    assert repository == expected[0]
    assert (None if place is None else str(place)) == (None if wanted is None else str(wanted))


def test_what_is_no_target_is_refused(shop, tmp_path):
    assert "write ./shared or --folder shared" in refused("push", shop, "shared")
    assert "name a target" in refused("push", shop)
    assert "give one" in refused("push", shop, "./x", "--folder", tmp_path / "y")
    assert "are for the hub" in refused("push", shop, "--folder", tmp_path / "y", "--private")
    assert "are for the hub" in refused("push", shop, "./y", "--revision", "v2")
    assert "is for a folder" in refused("push", shop, "me/shop", "--overwrite")
    assert "no identifier" in refused("push", shop, "me/shop", "--license", "My License")
    assert "no bundle here" in refused("push", tmp_path / "gone", "me/shop")
    for wrong in ("a/b/c", "a", "a/../b", "-a/b", "a/b--c", "a/", "/b", "a b/c"):
        assert not is_repository(wrong)


def test_a_folder_of_something_else_is_not_replaced(shop, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.md").write_text("x")
    assert "is not a bundle" in refused("push", shop, "--folder", tmp_path / "mine")
    run("push", shop, "--folder", tmp_path / "shared")
    assert "exists; choose another place" in refused("push", shop, "--folder", tmp_path / "shared")
    run("push", shop, "--folder", tmp_path / "shared", "--overwrite", "--license", "mit")
    assert "license: mit" in (tmp_path / "shared" / CARD).read_text()
    for command in (("push", shop, "--folder"), ("pull", shop, "--out")):
        message = refused(*command, shop / "bundle", "--overwrite")
        assert "is, or holds, what the command reads" in message


def test_a_dry_run_writes_nothing(shop, tmp_path, remote):
    said = json.loads(run("push", shop, "--folder", tmp_path / "shared", "--dry-run", "--json"))
    assert CARD in said["files"]
    assert said["commit"] is None
    assert not (tmp_path / "shared").exists()
    run("push", shop, "me/shop", "--dry-run")
    assert remote.calls == []


def test_there_and_back_by_the_hub_recommends_the_same(shop, tmp_path, remote):
    said = json.loads(run("push", shop, "me/shop", "--yes", "--json"))
    assert set(said["files"]) == set(remote.files("me/shop")) - {".gitattributes"} <= LAYOUT
    assert said["commit"] == fake_hub.commit_of(remote.repositories["me/shop"].branches["main"])
    card = remote.files("me/shop")[CARD].decode()
    assert "sidestep pull me/shop --out bundle" in card
    assert "**test** of `invented`" in card
    run("pull", "me/shop", "--out", tmp_path / "pulled")
    assert names(tmp_path / "pulled") == set(said["files"])
    assert lists(sidestep.load(tmp_path / "pulled")) == lists(sidestep.load(shop))


def test_everything_comes_in_one_commit(shop, remote):
    sidestep.push(shop, "me/shop")
    assert len(remote.repositories["me/shop"].branches["main"]) == 2
    assert remote.calls == ["create_repo", "repo_info", "create_commit"]


def test_files_of_an_older_bundle_go_and_other_files_stay(shop, remote):
    sidestep.push(shop, "me/shop")
    files = remote.files("me/shop")
    files |= {"ranker.safetensors": b"old", "users.parquet": b"old", "page.png": b"mine"}
    sidestep.push(shop, "me/shop")
    assert {"page.png", ".gitattributes"} == set(remote.files("me/shop")) - LAYOUT
    assert {"ranker.safetensors", "users.parquet"}.isdisjoint(remote.files("me/shop"))


def test_a_repository_of_something_else_is_not_written(shop, remote):
    remote.create_repo("me/thesis", private=False, exist_ok=True)
    remote.files("me/thesis")["config.json"] = b"{}"
    assert "holds something else than a bundle" in refused("push", shop, "me/thesis", "--yes")
    assert len(remote.repositories["me/thesis"].branches["main"]) == 1


def test_private_is_never_public(shop, remote):
    sidestep.push(shop, "me/secret", private=True)
    assert remote.repositories["me/secret"].private
    sidestep.push(shop, "me/public")
    before = len(remote.repositories["me/public"].branches["main"])
    message = refused("push", shop, "me/public", "--private")
    assert "everybody can read it" in message
    assert len(remote.repositories["me/public"].branches["main"]) == before


def test_nothing_is_published_without_a_yes(shop, remote):
    assert "give --yes to publish, or --private" in refused("push", shop, "me/shop")
    assert remote.calls == []


def test_a_branch_is_made_and_pulled(shop, tmp_path, remote):
    sidestep.push(shop, "me/shop", revision="v2")
    assert set(remote.files("me/shop")) == {".gitattributes"}
    assert CARD in remote.files("me/shop", "v2")
    message = refused("pull", "me/shop", "--out", tmp_path / "main")
    assert "holds no bundle" in message
    sidestep.pull("me/shop", tmp_path / "pulled", revision="v2")
    assert sidestep.load(tmp_path / "pulled").kind == "popularity"
    message = refused("pull", "me/shop", "--out", tmp_path / "none", "--revision", "v3")
    assert "there is no revision 'v3'" in message


def test_files_that_no_bundle_holds_are_not_fetched(shop, tmp_path, remote):
    sidestep.push(shop, "me/shop")
    remote.files("me/shop").update(
        {"model.pkl": b"x", "code.py": b"x", "../outside": b"x", "catalog/run.sh": b"x"}
    )
    said = " ".join(call("pull", "me/shop", "--out", tmp_path / "pulled").stderr.split())
    assert "4 other files of me/shop are no part of the bundle" in said
    assert names(tmp_path / "pulled") <= LAYOUT
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "catalog/semantic_ids.npy"])
@pytest.mark.parametrize("change", ["other", "gone", "link"])
def test_a_damaged_download_leaves_nothing(shop, tmp_path, remote, name, change):
    sidestep.push(shop, "me/shop")
    files = remote.files("me/shop")
    if change == "other":
        files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    elif change == "gone":
        del files[name]
    else:
        remote.linked = name
    before = sorted(tmp_path.iterdir())
    message = refused("pull", "me/shop", "--out", tmp_path / "pulled")
    assert name in message
    assert sorted(tmp_path.iterdir()) == before


def test_a_repository_without_a_card_gives_a_bundle_with_one(shop, tmp_path, remote):
    sidestep.push(shop, "me/shop")
    del remote.files("me/shop")[CARD]
    sidestep.pull("me/shop", tmp_path / "pulled")
    assert "# popularity on invented" in (tmp_path / "pulled" / CARD).read_text()


def test_somebody_elses_commit_is_not_overwritten(shop, remote, monkeypatch):
    sidestep.push(shop, "me/shop")
    seen = remote.repo_info

    def with_another(name, **settings):
        info = seen(name, **settings)
        remote.repositories[name].branches["main"].append({CARD: b"theirs"})
        return info

    monkeypatch.setattr(remote, "repo_info", with_another)
    with pytest.raises(ValueError, match="somebody else has written there meanwhile"):
        sidestep.push(shop, "me/shop")
    assert remote.files("me/shop") == {CARD: b"theirs"}


@pytest.mark.parametrize(
    ("method", "error", "words"),
    [
        ("create_repo", (fake_hub.errors.HfHubHTTPError, 401), "does not permit this"),
        ("create_repo", (fake_hub.errors.HfHubHTTPError, 403), "does not permit this"),
        ("create_commit", (fake_hub.errors.HfHubHTTPError, 500), "refuses with 500"),
        ("create_repo", ConnectionError("no network"), "the hub cannot be reached"),
        ("repo_info", TimeoutError("late"), "the hub cannot be reached"),
        ("create_repo", fake_hub.errors.LocalTokenNotFoundError("none"), "there is no token"),
        ("create_commit", fake_hub.httpx2.ReadError("cut"), "the hub cannot be reached"),
    ],
)
def test_a_refusal_of_the_hub_is_a_sentence(shop, remote, method, error, words):
    remote.failing[method] = fake_hub.refusal(*error) if isinstance(error, tuple) else error
    message = refused("push", shop, "me/shop", "--yes")
    assert message.startswith("Error: me/shop: ")
    assert words in message


def test_a_bug_is_not_taken_for_a_lack_of_network(shop, remote):
    remote.failing["create_repo"] = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        sidestep.push(shop, "me/shop")


def test_an_unknown_repository_is_told(tmp_path, remote):
    assert "there is no such repository" in refused("pull", "me/gone", "--out", tmp_path / "x")
    assert "no folder here, and no OWNER/NAME" in refused("pull", "gone", "--out", tmp_path / "x")
    (tmp_path / "here").mkdir()
    assert "no bundle here" in refused("pull", tmp_path / "here", "--out", tmp_path / "x")


def test_a_folder_has_no_revisions(shop, tmp_path):
    message = refused("pull", shop, "--out", tmp_path / "x", "--revision", "v2")
    assert "has no revisions" in message


def alone(tmp_path, *arguments, **environment):
    """A command in a process of its own, whose machine knows no token and no hub."""
    with socket.socket() as closed:  # nobody listens at a port that was just free
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-m", "sidestep", *map(str, arguments)],
        env={**kept, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": nobody, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return " ".join(done.stderr.split())


def test_the_real_library_without_a_token_or_a_hub_is_told(shop, tmp_path):
    push = ("push", shop, "me/shop", "--yes")
    assert "there is no token for the hub" in alone(tmp_path, *push)
    unreachable = "me/shop: the hub cannot be reached"
    assert unreachable in alone(tmp_path, *push, HF_TOKEN="hf_no_token")
    pull = ("pull", "me/shop", "--out", tmp_path / "out")
    assert unreachable in alone(tmp_path, *pull)
    assert unreachable in alone(tmp_path, *pull, HF_HUB_OFFLINE="1")
    assert not (tmp_path / "out").exists()
