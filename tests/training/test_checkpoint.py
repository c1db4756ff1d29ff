from dataclasses import replace

import pytest
import torch

from sidestep.training.checkpoint import (
    Checkpoint,
    WholeCheckpoints,
    checkpoints,
    load_checkpoint,
    refuse_other_run,
    refuse_other_weights,
    save_checkpoint,
)
from sidestep.training.random_state import random_state


@pytest.fixture
def moment():
    return Checkpoint(
        run={"seed": 1},
        state={"step": 3, "score": 0.1 + 0.2},
        weights={"w": torch.randn(3)},
        best_weights=None,
        optimizer={"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0, 1)}]},
        random_states=[random_state()],
    )


def test_what_is_loaded_is_what_was_saved(tmp_path, moment):
    moment = replace(moment, best_weights={"w": torch.randn(3)})
    loaded = load_checkpoint(save_checkpoint(tmp_path, moment))
    assert loaded.run == moment.run
    assert loaded.state == moment.state
    assert torch.equal(loaded.weights["w"], moment.weights["w"])
    assert torch.equal(loaded.best_weights["w"], moment.best_weights["w"])
    assert loaded.optimizer == moment.optimizer
    assert loaded.random_states[0]["python"] == moment.random_states[0]["python"]


def test_a_best_score_without_its_weights_is_refused(tmp_path, moment):
    path = save_checkpoint(tmp_path, replace(moment, state={"best_score": 0.5}))
    with pytest.raises(ValueError, match=r"checkpoint-000000 is damaged \(.*best\.safetensors"):
        load_checkpoint(path)


def test_a_changed_byte_is_found_in_any_file(tmp_path, moment):
    path = save_checkpoint(tmp_path, replace(moment, best_weights={"w": torch.randn(3)}))
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        with pytest.raises(ValueError, match="checkpoint-000000 is damaged"):
            load_checkpoint(path)
        file.write_bytes(whole)
    (path / "files.json").unlink()  # as in checkpoints of older versions
    assert load_checkpoint(path).state == moment.state


def test_numbers_go_on_and_the_last_two_stay(tmp_path, moment):
    # As text, 1000000 would come before 999999.
    (tmp_path / "checkpoint-999999").mkdir()
    for _ in range(2):
        save_checkpoint(tmp_path, moment)
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["checkpoint-1000000", "checkpoint-1000001"]


def test_a_failed_save_leaves_what_was_there(tmp_path, moment):
    first = save_checkpoint(tmp_path, moment)
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path, replace(moment, state={"step": object()}))
    assert list(tmp_path.iterdir()) == [first]
    assert load_checkpoint(first).state == moment.state


def test_many_differences_are_counted(tmp_path):
    saved = {"weights": {str(index): [1] for index in range(8)}, "seed": 1}
    current = {"weights": {str(index): [2] for index in range(8)}, "seed": 1}
    with pytest.raises(ValueError, match=r"weights\.0 was \[1\] and is \[2\].*; and 3 more\. Set"):
        refuse_other_run(tmp_path, saved, current)
    refuse_other_run(tmp_path, saved, saved)


def test_weights_of_another_shape_or_name_are_refused_and_the_same_are_not(tmp_path):
    saved, same = {"w": torch.zeros(3)}, {"w": torch.ones(3)}
    refuse_other_weights(tmp_path, saved, same)
    for other in ({"w": torch.zeros(4)}, {"w": torch.zeros(3), "v": torch.zeros(1)}):
        with pytest.raises(ValueError, match="written by another version of Sidestep"):
            refuse_other_weights(tmp_path, saved, other)


def test_a_store_gives_back_the_newest_to_its_own_run_alone(tmp_path, moment):
    store = WholeCheckpoints(tmp_path)
    assert store.is_empty()
    store.save(moment)
    newer = replace(moment, state={"step": 4})
    store.save(newer)
    assert not store.is_empty()
    saved = store.newest(moment.run, moment.weights)
    assert saved.state == newer.state
    assert torch.equal(saved.weights["w"], moment.weights["w"])
    with pytest.raises(ValueError, match=r"checkpoint-000001 belongs to another run: seed was 1"):
        store.newest({"seed": 2}, moment.weights)
    with pytest.raises(ValueError, match="written by another version of Sidestep"):
        store.newest(moment.run, {"w": torch.zeros(4)})
    assert "checkpoint-000001 is damaged (cut)" in str(store.damaged("cut"))


@pytest.mark.parametrize("name", ["run.json", "state.json"])
def test_a_description_that_is_no_object_is_refused(tmp_path, moment, name):
    path = save_checkpoint(tmp_path, moment)
    (path / "files.json").unlink()  # as in checkpoints of older versions, which have no hashes
    (path / name).write_text("[1]")
    with pytest.raises(ValueError, match="checkpoint-000000 is damaged"):
        load_checkpoint(path)
