"""The tokenizers by name: the built-in ones, and a user's own by import path."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sidestep.import_paths import imported, is_import_path
from sidestep.tokenizer.tokenizer import FittedTokenizer, Tokenizer

METHODS = {
    "residual-kmeans": "sidestep.tokenizer.residual_kmeans:ResidualKMeans",
    "balanced": "sidestep.tokenizer.balanced_kmeans:BalancedKMeans",
    "rq-vae": "sidestep.tokenizer.rq_vae:RqVae",
    "opq": "sidestep.tokenizer.opq:Opq",
    "mpq": "sidestep.tokenizer.mpq:Mpq",
}
"""Import paths of the built-in tokenizers, by name. Only the chosen tokenizer is imported, since
each needs another large library."""

DEFAULT_METHOD = "opq"
"""The method whose codes were best on validation, on every dataset of the benchmark."""

_FITTED = {
    "residual": "sidestep.tokenizer.codebooks:ResidualCodebooks",
    "rq-vae": "sidestep.tokenizer.rq_vae:FittedRqVae",
    "product": "sidestep.tokenizer.opq:ProductCodebooks",
    "mpq": "sidestep.tokenizer.mpq:FittedMpq",
}


def config_class(method: str) -> type[BaseModel]:
    """Class of the configuration of a method; see `make_tokenizer`."""
    found: type[BaseModel] = _class_of(method).Config
    return found


def make_tokenizer(method: str, config: BaseModel) -> Tokenizer:
    """Makes the tokenizer of a method.

    Args:
        method: a key of `METHODS`, or the import path of a class, such as
            "my_package.my_module:MyTokenizer".
        config: configuration, an instance of the class `config_class(method)`.

    Raises:
        ValueError: there is no such method, or the class is no tokenizer.
    """
    made: Tokenizer = _class_of(method)(config)
    return made


def space_of(method: str) -> str | None:
    """Name of the code space of a method's codes, its class attribute `space`; None is the trie."""
    named: str | None = getattr(_class_of(method), "space", None)
    return named


def kind_of(tokenizer: FittedTokenizer) -> str:
    """Name of the class of a fitted tokenizer, by which `load_fitted` finds the class again."""
    path = f"{type(tokenizer).__module__}:{type(tokenizer).__qualname__}"
    return next((kind for kind, known in _FITTED.items() if known == path), path)


def load_fitted(kind: str, path: Path) -> FittedTokenizer:
    """Reads a fitted tokenizer of the class that `kind_of` named, see `FittedTokenizer.load`.

    Raises:
        ValueError: there is no such class, or the file cannot be read.
    """
    if kind not in _FITTED and not is_import_path(kind):
        raise ValueError(
            f"no fitted tokenizer of the kind {kind!r}; there are {', '.join(_FITTED)}."
        )
    found: type[FittedTokenizer] = _imported(_FITTED.get(kind, kind))
    return found.load(path)


def _class_of(method: str) -> Any:
    if not is_import_path(method):
        if method not in METHODS:
            raise ValueError(
                f"no tokenizer {method!r}; there are {', '.join(METHODS)}, and your own by import "
                "path, such as my_package.my_module:MyTokenizer."
            )
        return _imported(METHODS[method])
    found = _imported(method)
    if not (hasattr(found, "Config") and callable(getattr(found, "fit", None))):
        raise ValueError(
            f"{method}: is no tokenizer; it needs a Config and a fit, see "
            "sidestep.tokenizer.tokenizer.Tokenizer."
        )
    return found


def _imported(path: str) -> Any:
    found = imported(path)
    if not isinstance(found, type):
        raise ValueError(f"{path}: is no class; name one as my_package.my_module:MyTokenizer.")
    return found
