"""The layout of a bundle's folder: the names of all files that it may hold. Needs no torch."""

from sidestep.bundle.manifest import MANIFEST
from sidestep.bundle.parts import PARTS
from sidestep.catalog.stored import CATALOG_FILES

WEIGHTS = "model.safetensors"
TOKENIZER = "language_tokenizer.json"
"""The tokenizer of a language model, see `kept_tokenizer`."""
USERS = "users.parquet"
CATALOG = "catalog"
CARD = "README.md"
"""The model card. It belongs to the folder, and not to the bundle: the manifest does not list it,
so a card that is missing, damaged or written anew changes no hash and stops nothing."""

LISTED = frozenset(
    (
        *(WEIGHTS, TOKENIZER, USERS),
        *(part.file for part in PARTS.values()),
        *(f"{CATALOG}/{name}" for name in CATALOG_FILES),
    )
)
"""The files that a manifest may list, as paths within the folder."""

LAYOUT = LISTED | {MANIFEST, CARD}
"""All files that the folder of a bundle may hold, as paths within the folder."""
