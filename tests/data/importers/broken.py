"""What every importer must do with broken input, whichever the breakage."""

from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from sidestep.data.dataset import Dataset

NOISE = (b"\xff", b"\x00", b'"', b"{", b"]", b",", b"\n", b"x", b"-1", b"null ", b"\xe2\x28")

breakages = st.tuples(st.floats(0, 1), st.none() | st.sampled_from(NOISE))
"""Where, as a share of the length, and what is inserted there; None cuts the file off."""


def broken(data: bytes, breakage: tuple[float, bytes | None]) -> bytes:
    """`data` with something inserted, or without its end."""
    share, noise = breakage
    place = round(share * len(data))
    return data[:place] if noise is None else data[:place] + noise + data[place:]


def message_of(import_it: Callable[[], Dataset], broken_file: Path) -> str | None:
    """The message of the `ValueError` that names the file, None if its content was legal after all.

    Whatever else an importer raises or leaves behind fails the test.
    """
    before = sorted(broken_file.parent.iterdir())
    try:
        import_it()
        message = None
    except ValueError as error:
        message = str(error)
    assert message is None or broken_file.name in message
    assert sorted(broken_file.parent.iterdir()) == before
    return message
