import pytest

from sidestep.launch import Launch


def test_the_environment_tells_of_the_launch(monkeypatch):
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    launch = Launch.of_environment()
    assert launch == Launch(index=3, count=4, local_index=1)
    assert launch.is_shared
    assert not launch.is_first


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE"])
def test_without_a_launcher_a_process_is_alone(monkeypatch, missing):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv(missing)
    launch = Launch.of_environment()
    assert launch == Launch()
    assert launch.is_first
    assert not launch.is_shared
