"""The processes of a training; `test_sharing.py` starts several."""

import pytest
import torch

from sidestep.launch import Launch
from sidestep.training.processes import Processes, joined, training_device

NUM_GPUS = 2


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are GPUs; returns the numbers of those that became current."""
    chosen: list[int] = []
    pretended = {
        "is_available": lambda: True,
        "current_accelerator": lambda: torch.device("cuda"),
        "current_device_index": lambda: 0,
        "device_count": lambda: NUM_GPUS,
        "set_device_index": chosen.append,
    }
    for name, answer in pretended.items():
        monkeypatch.setattr(torch.accelerator, name, answer)
    return chosen


def test_auto_takes_the_accelerator_and_cpu_does_not(gpus):
    assert training_device(Launch(), "auto") == torch.device("cuda", 0)
    assert training_device(Launch(), "cpu") == torch.device("cpu")
    assert gpus == []


def test_each_process_of_a_machine_has_its_own_gpu(gpus):
    launch = Launch(index=5, count=8, local_index=1)
    assert training_device(launch, "auto") == torch.device("cuda", 1)
    assert gpus == [1]


def test_more_processes_than_gpus_are_refused(gpus):
    launch = Launch(index=2, count=3, local_index=2)
    with pytest.raises(ValueError, match=r"process 3 .* finds 2 devices .*--nproc-per-node"):
        training_device(launch, "auto")
    assert training_device(launch, "cpu") == torch.device("cpu")


def test_one_process_agrees_with_itself():
    with joined("cpu") as processes:
        assert processes == Processes()
        assert processes.is_first
        assert processes.largest(3) == 3
        assert processes.of_first("word") == "word"
        assert processes.gathered("word") == ["word"]
        assert torch.equal(processes.sum(torch.ones(2)), torch.ones(2))
        processes.wait()
