"""The card of a bundle, `README.md`: written with the bundle, and made again when it is shared.

The last line of a card tells for which bundle Sidestep made it, and the hash of the text above. So
a card that somebody has changed is known, and is not replaced. No reader of bundles reads a card.
"""

import hashlib
import re
from pathlib import Path

from sidestep.bundle.card_facts import facts_of
from sidestep.bundle.card_text import card_body
from sidestep.bundle.layout import CARD
from sidestep.files import whole_file

_ORIGIN = re.compile(
    r"\n<!-- Made by Sidestep for the bundle ([0-9a-f]{64}); text ([0-9a-f]{64})\. -->\n\Z"
)
"""The last line of a card."""

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")


def signed(body: str, manifest_sha256: str) -> str:
    """The text of a card with the line that tells its origin.

    Args:
        body: the text.
        manifest_sha256: of the bundle.
    """
    text = hashlib.sha256(body.encode()).hexdigest()
    return f"{body}\n<!-- Made by Sidestep for the bundle {manifest_sha256}; text {text}. -->\n"


def made_for(text: str) -> str | None:
    """The hash of the manifest for which Sidestep made a card; None if somebody has changed it."""
    found = _ORIGIN.search(text)
    if found is None:
        return None
    body = text[: found.start()]
    is_unchanged = hashlib.sha256(body.encode()).hexdigest() == found[2]
    return found[1] if is_unchanged else None


def with_license(text: str, license: str) -> str:
    """A card that Sidestep made, with another licence in its front matter.

    Raises:
        ValueError: the card is not as Sidestep made it.
    """
    sha256, origin = made_for(text), _ORIGIN.search(text)
    if sha256 is None or origin is None:
        raise ValueError("the card was changed by hand; write the licence into it by hand, too.")
    body = text[: origin.start()]
    head, _, rest = body.removeprefix("---\n").partition("\n---\n")
    lines = [line for line in head.splitlines() if not line.startswith("license:")]
    return signed("\n".join(["---", f"license: {license}", *lines, "---", rest]), sha256)


def check_license(license: str | None) -> str | None:
    """An identifier of a licence; a `ValueError` where it is none."""
    if license is not None and not _LICENSE.fullmatch(license):
        raise ValueError(
            f"the licence {license!r:.80} is no identifier; write one such as apache-2.0, mit or "
            "other."
        )
    return license


def read_card(folder: Path) -> str | None:
    """The card in a folder; None where there is none, or where it is no text."""
    file = folder / CARD
    if file.is_symlink() or not file.is_file():
        return None
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def write_card(folder: Path) -> None:
    """Writes the card of a bundle that nobody has evaluated yet.

    Args:
        folder: of the bundle, with its manifest.
    """
    facts = facts_of(folder)
    with whole_file(folder / CARD) as temporary:
        temporary.write_text(signed(card_body(facts), facts.manifest_sha256), encoding="utf-8")
