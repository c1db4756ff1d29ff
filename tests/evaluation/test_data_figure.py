import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sidestep.evaluation.data_figure import write_data_figure

DAY = 86_400
IN_2018 = 1_538_265_600


def words_of(path):
    return " ".join(text.strip() for text in ET.parse(path).getroot().itertext() if text.strip())


def drawn(path, **changes):
    rng = np.random.default_rng(0)
    arguments = {
        "lengths": np.append(rng.integers(3, 30, 200), 4000),
        "item_counts": rng.integers(0, 40, 100),
        "timestamps": IN_2018 + rng.integers(0, 100, 500) * DAY,
        "title": "shop $5",
    }
    write_data_figure(path, **{**arguments, **changes})
    return path


def test_three_panels_and_their_marks_are_named(tmp_path):
    words = words_of(
        drawn(tmp_path / "f.svg", marks={"validation": IN_2018 + 50 * DAY, "test": IN_2018})
    )
    for expected in (
        "shop $5", "Users by length", "Items by popularity", "Interactions over time",
        "median", "1 longer, up to 4,000",
        "more without any", "validation", "test", "Dec",
    ):  # fmt: skip
        assert expected in words


def test_the_same_data_is_the_same_file(tmp_path):
    first, second = (drawn(tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamps": None},
        {"timestamps": np.arange(10)},
        {"timestamps": np.array([IN_2018])},
        {"lengths": np.array([5])},
        {"lengths": np.array([1, 1, 4000])},
        {"lengths": np.zeros(0, dtype=np.int64)},
        {"item_counts": np.zeros(4, dtype=np.int64)},
        {"item_counts": np.array([3])},
    ],
)
def test_odd_data_is_drawn_as_well(tmp_path, changes):
    file = drawn(tmp_path / "f.png", **changes)
    assert file.read_bytes().startswith(b"\x89PNG")
