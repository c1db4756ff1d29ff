"""Settings of searches, read from text and written as text."""

from collections.abc import Mapping, Sequence

from sidestep.evaluation.words import value_in_words
from sidestep.runs.plain_yaml import parse_yaml
from sidestep.runs.settings import LARGEST, shown
from sidestep.search.specs import Value

Weights = float | tuple[float, ...]
"""λ of all levels, or one for each."""


def read_weights(text: str) -> Weights:
    """λ as it is written on the command line.

    Raises:
        ValueError: the text is no number from 0 to `LARGEST`, and no such numbers with commas
            between them.
    """
    try:
        weights = tuple(float(part) + 0.0 for part in text.split(","))  # -0 is 0
    except ValueError:
        weights = ()
    if not weights or not all(0 <= weight <= LARGEST for weight in weights):
        raise ValueError(
            f"--likelihood-weight {text!r:.80}: write a number from 0 to {LARGEST}, or one per "
            "level with commas between them, such as 1,0.5,0."
        )
    return weights[0] if len(weights) == 1 else weights


CandidatesPerLevel = int | tuple[int | None, ...]
"""K+ of all levels, or one for each, None where likelihood alone decides."""


def read_candidates(text: str) -> CandidatesPerLevel:
    """K+ as it is written on the command line.

    Raises:
        ValueError: the text is no number from 1 to `LARGEST`, and no such numbers or `none` with
            commas between them; or all are `none`.
    """
    parts = [part.strip() for part in text.split(",")]
    digits = len(str(LARGEST))  # int() refuses thousands of them in words of its own
    if not all(
        part == "none" or (part.isdecimal() and len(part) <= digits and 1 <= int(part) <= LARGEST)
        for part in parts
    ):
        raise ValueError(
            f"--candidates {text!r:.80}: write a number from 1 to {LARGEST}, or one per level with "
            "commas between them, and none where likelihood alone is to decide, such as "
            "none,200,200."
        )
    if set(parts) == {"none"}:
        raise ValueError(
            f"--candidates {text!r:.80}: nothing is left to guide; that is the search beam."
        )
    numbers = tuple(None if part == "none" else int(part) for part in parts)
    return numbers[0] if len(numbers) == 1 and numbers[0] is not None else numbers


def enumerated(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def read_search_options(options: Sequence[str]) -> dict[str, Value]:
    """Settings of a search as they are written on the command line: NAME=VALUE, the value as YAML.

    Raises:
        ValueError: one is not written so, stands twice, or is no plain value.
    """
    read: dict[str, Value] = {}
    for option in options:
        told = f"--search-option {shown(option)}"
        name, separator, text = option.partition("=")
        if not separator or not name or name in read:
            raise ValueError(f"{told}: write each once, as name=value, such as temperature=2.")
        value = parse_yaml(text, told)
        if not isinstance(value, int | float | str | None):
            raise ValueError(f"{told}: a setting of a search is one value.")
        if isinstance(value, int | float) and abs(value) > LARGEST:
            raise ValueError(f"{told}: {shown(value)} is out of all proportion.")
        read[name] = value
    return read


def options_in_words(options: Mapping[str, Value]) -> str:
    """Settings as `read_search_options` reads them, with commas between them."""
    words = {
        name: "null" if value is None else value_in_words(value) for name, value in options.items()
    }
    return ",".join(f"{name}={word}" for name, word in words.items())
