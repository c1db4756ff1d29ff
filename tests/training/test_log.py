from sidestep.training.log import TrainingLog


def test_lines_after_the_size_to_continue_from_are_dropped(tmp_path):
    path = tmp_path / "run" / "log.jsonl"
    log = TrainingLog(path)
    log.write({"step": 1})
    kept = log.size_bytes
    log.write({"step": 2})
    log.close()
    again = TrainingLog(path, size_bytes=kept)
    assert again.size_bytes == kept
    again.write({"step": 3})
    again.close()
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'


def test_a_log_that_was_cleared_goes_on(tmp_path):
    log = TrainingLog(tmp_path / "log.jsonl", size_bytes=1000)
    log.write({"step": 3})
    log.close()
    assert (tmp_path / "log.jsonl").read_text() == '{"step": 3}\n'


def test_the_half_of_a_line_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainingLog(path)
    for step in (1, 2):
        log.write({"step": step})
    size = log.size_bytes
    log.close()
    path.write_bytes(path.read_bytes()[:-4])
    again = TrainingLog(path, size_bytes=size)
    again.write({"step": 3})
    again.close()
    assert path.read_text() == '{"step": 1}\n{"step": 3}\n'
