"""The served bundle: no list holds an unavailable item, and no bad bundle replaces a good one."""

import itertools
import shutil
import threading
import time
from pathlib import Path

import pytest

from sidestep.bundle.folder import load
from sidestep.bundle.requests import Request
from sidestep.runs.searches import AskedSearch
from sidestep.service.questions import Question
from sidestep.service.served_bundle import RefusedBundleError, ServedBundle
from sidestep.service.state import SharedState
from tests.service.conftest import ITEM_IDS


@pytest.fixture
def state(tmp_path, shops):
    made = SharedState(tmp_path / "state.json")
    made.start(shops / "shop")
    return made


@pytest.fixture
def served(shops, state):
    return ServedBundle(shops / "shop", state, device="cpu", max_batch=8)


def question(*history, k=5, **settings):
    return Question(request=Request(history=list(history), k=k), **settings)


def items(served, *questions, rung=0):
    return [each.ranked.item_ids for each in served.answer(questions, rung)]


def test_answers_are_those_of_the_library_whatever_stands_beside(shops, served):
    alone = load(shops / "shop", device="cpu")
    histories = [["id-1", "id-2"], [], ["id-7"]]
    expected = [answer.item_ids for answer in alone.recommend(histories, 5)]
    assert items(served, *(question(*history) for history in histories)) == expected
    beam = AskedSearch(name="beam", beams=3)
    mixed = items(served, question(*histories[0]), question(*histories[0], search=beam))
    assert mixed[0] == expected[0]
    [narrow] = alone.recommend(histories[:1], 5, search=beam.policy(alone, num_leaves=5))
    assert mixed[1] == narrow.item_ids


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells the mappings")
def test_the_weights_stay_in_their_file_which_all_engines_share(served):
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    ends = [line[0].split("-") for line in lines if line[-1].endswith("model.safetensors")]
    places = [range(int(first, 16), int(last, 16)) for first, last in ends]
    parameters = [*served.answering.snapshot.recommender.network.parameters()]
    assert parameters
    for parameter in parameters:
        assert any(parameter.data_ptr() in place for place in places)


def test_a_ladder_goes_down_to_popularity_and_says_so(served):
    answers = [served.answer([question("id-1")], rung) for rung in (0, 1, 2, 3)]
    assert [answer.degraded for [answer] in answers] == [
        None,
        "beam-10",
        "popularity",
        "popularity",
    ]
    assert answers[2][0].ranked.item_ids == ["id-11", "id-10", "id-9", "id-8", "id-7"]


def test_an_unavailable_item_is_in_no_list_of_any_rung_and_may_come_back(served, state):
    [before] = items(served, question("id-1", k=12))
    served.make_unavailable(before[:2])
    for rung in range(3):
        [found] = items(served, question("id-1", k=12), rung=rung)
        assert {*found} == {*ITEM_IDS} - {*before[:2]}
    assert state.read().unavailable == {*before[:2]}
    served.make_unavailable([], back=before[:1])
    assert {*items(served, question("id-1", k=12))[0]} == {*ITEM_IDS} - {before[1]}


def test_what_another_process_makes_unavailable_is_unavailable_here(shops, state, served):
    other = ServedBundle(shops / "shop", state, device="cpu", max_batch=8)
    other.make_unavailable(["id-3"])
    assert "id-3" not in items(served, question("id-1", k=12))[0]


def test_a_list_that_is_made_while_an_item_goes_is_made_again(served, monkeypatch):
    """The item goes after the batch was computed, and before anybody is given the list."""
    first = items(served, question("id-1", k=12))[0][0]
    answering, calls = type(served.answering), itertools.count()
    compute = answering.answer

    def interrupted(self, questions, rung):
        found = compute(self, questions, rung)
        if next(calls) == 0:
            served.make_unavailable([first])
        return found

    monkeypatch.setattr(answering, "answer", interrupted)
    assert first not in items(served, question("id-1", k=12))[0]


@pytest.mark.parametrize(
    ("gone", "back", "error", "words"),
    [
        (["id-99"], [], KeyError, "no item 'id-99'"),
        (["id-1"], ["id-1"], ValueError, "'id-1' is to leave and to come back"),
        (ITEM_IDS, [], ValueError, "nothing left to recommend"),
    ],
)
def test_a_refused_change_of_availability_changes_nothing(served, state, gone, back, error, words):
    with pytest.raises(error, match=words):
        served.make_unavailable(gone, back)
    assert state.read().unavailable == frozenset()
    assert len(items(served, question("id-1", k=12))[0]) == 12


def test_a_reload_answers_as_the_new_bundle_and_keeps_what_is_unavailable(shops, served):
    served.make_unavailable(["id-3"])
    rest = [item_id for item_id in ITEM_IDS if item_id != "id-3"]
    before, expected = (
        load(shops / name, device="cpu").recommend([["id-1"]], 12, available=rest)[0].item_ids
        for name in ("shop", "other")
    )
    assert before != expected, "else this test shows nothing"
    served.reload("other")
    assert items(served, question("id-1", k=12)) == [expected]
    served.roll_back()
    assert items(served, question("id-1", k=12)) == [before]
    with pytest.raises(RefusedBundleError, match="no other bundle to go back to"):
        served.roll_back()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("damaged", RefusedBundleError, "not the file that manifest.json describes"),
        ("empty", RefusedBundleError, "empty"),
        ("é" * 200, ValueError, "no name of a folder beside"),
        ("nowhere", FileNotFoundError, "no folder 'nowhere'"),
        ("../shop", ValueError, "no name of a folder beside"),
        ("/etc", ValueError, "no name of a folder beside"),
        ("..", ValueError, "no name of a folder beside"),
    ],
)
def test_a_bad_reload_leaves_the_old_bundle(shops, served, state, name, error, words):
    (shops / "empty").mkdir(exist_ok=True)
    before = items(served, question("id-1"))
    with pytest.raises(error, match=words):
        served.reload(name)
    assert items(served, question("id-1")) == before
    assert state.read().generation == 0


def test_a_bundle_whose_scores_are_not_numbers_is_refused_by_its_canaries(
    shops, tmp_path, monkeypatch
):
    for name in ("shop", "broken"):
        shutil.copytree(shops / "shop", tmp_path / name)
    state = SharedState(tmp_path / "state.json")
    state.start(tmp_path / "shop")
    served = ServedBundle(tmp_path / "shop", state, device="cpu", max_batch=8)
    broken = load(tmp_path / "broken", device="cpu")
    for weight in broken.network.parameters():
        weight.data.fill_(float("nan"))
    broken.save(tmp_path / "broken")
    with pytest.raises(RefusedBundleError):
        served.reload("broken")
    assert items(served, question("id-1"))[0]


def test_a_reload_of_one_process_reaches_the_others(shops, state, served):
    other = ServedBundle(shops / "shop", state, device="cpu", max_batch=8)
    other.start_watching()
    served.reload("other")
    for _ in range(1000):
        if other.generation == 1:
            break
        time.sleep(0.02)
    assert other.generation == 1
    assert items(other, question("id-1")) == items(served, question("id-1"))
    other.close()


def test_nothing_leaks_while_bundles_and_availability_change(shops, state, served):
    """Threads ask without a pause; each checks its lists against what was gone before it asked."""
    gone, leaks, stop = set(), [], threading.Event()

    def ask():
        while not stop.is_set():
            known = set(gone)
            found = {*items(served, question("id-1", k=12))[0]}
            leaks.extend(found & known)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for name, item_id in zip(("other", "shop") * 3, ITEM_IDS, strict=False):
        served.make_unavailable([item_id])
        gone.add(item_id)
        served.reload(name)
    stop.set()
    for asker in askers:
        asker.join()
    assert not leaks


def test_a_service_that_starts_again_remembers_what_is_unavailable(shops, state, served):
    served.make_unavailable(["id-3"])
    state.start(shops / "other")
    again = ServedBundle(shops / "other", state, device="cpu", max_batch=8)
    assert "id-3" not in items(again, question("id-1", k=12))[0]


def test_a_file_that_is_no_state_is_refused(tmp_path, shops):
    file = tmp_path / "state.json"
    file.write_text('{"name": "something else"}')
    with pytest.raises(ValueError, match="is no state of a service; name another file"):
        SharedState(file).start(shops / "shop")
    assert file.read_text() == '{"name": "something else"}'


def test_a_bundle_that_was_replaced_in_its_place_is_loaded(shops, tmp_path):
    shutil.copytree(shops / "shop", tmp_path / "shop")
    state = SharedState(tmp_path / "state.json")
    state.start(tmp_path / "shop")
    served = ServedBundle(tmp_path / "shop", state, device="cpu", max_batch=8)
    shutil.rmtree(tmp_path / "shop")
    shutil.copytree(shops / "other", tmp_path / "shop")
    served.reload()
    [expected] = load(shops / "other", device="cpu").recommend([["id-1"]], 5)
    assert items(served, question("id-1")) == [expected.item_ids]
    with pytest.raises(RefusedBundleError, match="no other bundle to go back to"):
        served.roll_back()


def test_loading_a_bundle_again_does_not_forget_the_one_before(shops, served):
    [before] = items(served, question("id-1"))
    served.reload("other")
    served.reload()
    served.roll_back()
    assert items(served, question("id-1")) == [before]


def test_reloads_of_two_processes_end_in_one_bundle(shops, state, served):
    """Both counted the same reload: the later one must win everywhere."""
    served.start_watching()
    served.reload("other")
    state.change(lambda now: now.model_copy(update={"bundle": shops / "shop"}))
    [expected] = load(shops / "shop", device="cpu").recommend([["id-1"]], 5)
    for _ in range(1000):
        if items(served, question("id-1")) == [expected.item_ids]:
            break
        time.sleep(0.02)
    assert items(served, question("id-1")) == [expected.item_ids]
    served.close()


def test_who_cleans_the_disk_does_not_stop_the_service(served, tmp_path):
    served.make_unavailable(["id-3"])
    (tmp_path / "state.json").unlink()
    assert "id-3" not in items(served, question("id-1", k=12))[0]
    served.make_unavailable(["id-4"])
    assert not {"id-3", "id-4"} & {*items(served, question("id-1", k=12))[0]}


def test_a_damaged_state_file_changes_nothing_and_is_written_anew(served, tmp_path, caplog):
    served.make_unavailable(["id-3"])
    for text in ("{", "[]", "", '{"unavailable": 3}'):
        (tmp_path / "state.json").write_text(text)
        for _ in range(3):
            assert "id-3" not in items(served, question("id-1", k=12))[0]
    assert len([line for line in caplog.messages if "goes on with the state before" in line]) == 4
    served.make_unavailable(["id-4"])
    assert SharedState(tmp_path / "state.json").read().unavailable == {"id-3", "id-4"}


def test_a_list_that_is_asked_for_within_a_reload_brings_no_old_bundle_back(
    shops, state, served, monkeypatch
):
    """Between the new state and the new bundle, another thread asks and sees the new mark."""
    change, askers = SharedState.change, []

    def interrupted(self, changed):
        made = change(self, changed)
        asker = threading.Thread(target=lambda: items(served, question("id-1")))
        asker.start()
        asker.join(0.3)  # it waits for the lock of the swap
        askers.append(asker)
        return made

    monkeypatch.setattr(SharedState, "change", interrupted)
    served.reload("other")
    for asker in askers:
        asker.join()
    assert served.generation == 1
    [expected] = load(shops / "other", device="cpu").recommend([["id-1"]], 5)
    assert items(served, question("id-1")) == [expected.item_ids]


def test_two_services_do_not_share_a_state(state):
    with (
        state.held(),
        pytest.raises(ValueError, match="another service uses this file"),
        SharedState(state._file).held(),
    ):
        pass
