import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidestep.embedding.encoding import encode_texts

TEXTS = ["steel drill", "", "red lipstick", "  ", "pink lipstick", "saw", "drill bits"]
SHOWN = [text for text in TEXTS if text.strip()]


@dataclass
class BatchwiseEncoder:
    """Encoder like a network: a vector depends a little on the other texts of its batch."""

    sha256: str = "a"
    seen: list[str] = field(default_factory=list)
    fails_at: str | None = None

    def encode(self, texts):
        if self.fails_at in texts:
            raise KeyboardInterrupt
        self.seen += texts
        longest = max(map(len, texts))
        return np.array([[len(text), text.count("i"), longest / 7] for text in texts], np.float32)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_each_text_has_a_vector_in_its_row_and_empty_ones_are_zero_and_counted():
    encoded = encode_texts(BatchwiseEncoder(), TEXTS, chunk_size=2)
    assert encoded.vectors.dtype == np.float32
    assert encoded.num_empty == 2
    assert encoded.vectors[:, 0].tolist() == [11, 0, 12, 0, 13, 3, 10]
    assert not encoded.vectors[[1, 3]].any()


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12).filter("".join),
    st.integers(1, 5),
    st.data(),
)
def test_an_interrupted_encoding_goes_on_to_the_same_bits(tmp_path_factory, texts, size, data):
    if not any(text.strip() for text in texts):
        texts = [*texts, "saw"]
    folder = tmp_path_factory.mktemp("resume")
    whole = encode_texts(BatchwiseEncoder(), texts, chunk_size=size)
    stop = data.draw(st.sampled_from([text for text in texts if text.strip()]))
    first, second = BatchwiseEncoder(fails_at=stop), BatchwiseEncoder()
    with pytest.raises(KeyboardInterrupt):
        encode_texts(first, texts, unfinished=folder, chunk_size=size)
    resumed = encode_texts(second, texts, unfinished=folder, chunk_size=size)
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()
    assert first.seen + second.seen == [text for text in texts if text.strip()]
    assert resumed.num_resumed == len(first.seen)


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sidestep.embedding.encoding import encode_texts

class Killed:
    sha256 = "a"
    def encode(self, texts):
        if "pink lipstick" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        longest = max(map(len, texts))
        return np.array([[len(text), text.count("i"), longest / 7] for text in texts], np.float32)

encode_texts(Killed(), {texts!r}, unfinished=Path(sys.argv[1]), chunk_size=2)
"""


def test_a_killed_process_leaves_its_finished_chunks(tmp_path):
    script = KILLED.format(texts=TEXTS)
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert done.returncode == -9
    encoder = BatchwiseEncoder()
    resumed = encode_texts(encoder, TEXTS, unfinished=tmp_path, chunk_size=2)
    assert encoder.seen == SHOWN[2:]
    whole = encode_texts(BatchwiseEncoder(), TEXTS, chunk_size=2)
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()


@pytest.mark.parametrize(
    ("encoder", "texts", "size"),
    [
        (BatchwiseEncoder(sha256="b"), TEXTS, 2),
        (BatchwiseEncoder(), [*TEXTS[:-1], "drill bit"], 2),
        (BatchwiseEncoder(), TEXTS[:-1], 2),
        (BatchwiseEncoder(), TEXTS, 3),
    ],
)
def test_another_model_or_other_texts_resume_nothing_and_destroy_nothing(
    tmp_path, encoder, texts, size
):
    encode_texts(BatchwiseEncoder(), TEXTS, unfinished=tmp_path, chunk_size=2)
    assert encode_texts(encoder, texts, unfinished=tmp_path, chunk_size=size).num_resumed == 0
    again = encode_texts(BatchwiseEncoder(), TEXTS, unfinished=tmp_path, chunk_size=2)
    assert again.num_resumed == len(SHOWN)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_chunk_is_encoded_again(tmp_path, damage):
    whole = encode_texts(BatchwiseEncoder(), TEXTS, unfinished=tmp_path, chunk_size=2)
    file = files_in(tmp_path)[1]
    if damage is None:
        np.save(file, np.zeros((1, 3), np.float32))
    else:
        file.write_bytes(damage)
    encoder = BatchwiseEncoder()
    again = encode_texts(encoder, TEXTS, unfinished=tmp_path, chunk_size=2)
    assert encoder.seen == SHOWN[2:4]
    assert again.vectors.tobytes() == whole.vectors.tobytes()


def test_progress_counts_the_texts_that_have_something_to_read():
    told = []
    encode_texts(
        BatchwiseEncoder(),
        TEXTS,
        chunk_size=2,
        report=lambda done, total: told.append((done, total)),
    )
    assert told == [(0, 5), (2, 5), (4, 5), (5, 5)]


def test_nothing_to_read_is_refused():
    with pytest.raises(ValueError, match="no text to encode"):
        encode_texts(BatchwiseEncoder(), ["", "  "])
