"""Checks the types and shapes of every annotated call of the package.

The import hook of jaxtyping decorates every function with `jaxtyped`, which binds and checks the
arguments of a call twice. That takes more time than most trainings of small networks do. The
decorator of this module checks arguments once, before the call, and what is returned after the
call. A name of an axis stands for one size within a call, as with `jaxtyped`.
"""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from types import FunctionType
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_JAXTYPED = jaxtyping.jaxtyped
_CALL = _JAXTYPED("context")
"""Within this context, a name of an axis stands for one size."""

_AS_JAXTYPED = BeartypeConf(violation_type=jaxtyping.TypeCheckError)
"""A call that is refused raises the `TypeError` that `jaxtyped` raises."""


_FOR_TYPE_CHECKERS = {
    *("Given", "LocalEngine", "Plan", "SentenceTransformer", "TracerProvider"),  # imported for them
    "_Hash",  # of hashlib, which has no such value
}
"""The names in hints that only a type checker knows. Any other unknown name is an error."""


def check_every_call(package: str) -> None:
    """Lets every function that modules of the package define from now on check its calls."""
    jaxtyping.jaxtyped = checked  # by this name, the hook decorates
    jaxtyping.install_import_hook(package, "beartype.beartype").__enter__()


def checked(made: Any = None, *, typechecker: Any) -> Any:
    """Decorates a function, or the `__init__` of a dataclass."""
    if made is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(made):
        init = vars(made).get("__init__")
        if dataclasses.is_dataclass(made) and init is not None and not hasattr(init, "__wrapped__"):
            made.__init__ = checked(init, typechecker=typechecker)
        return made
    if not isinstance(made, FunctionType) or _is_resumed(made):
        return _JAXTYPED(made, typechecker=typechecker)
    if not made.__annotations__ or getattr(made, "__no_type_check__", False):
        return made
    if made.__module__ == _FINDER:
        return made
    return _checked(made)


_FINDER = "sidestep.lazy_imports"
"""The module that finds modules within an import; a check of it would import, and so ask it."""


def _is_resumed(function: FunctionType) -> bool:
    """Whether the body of a function runs after the call has returned."""
    return bool(
        function.__code__.co_flags
        & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
    )


def _checked(function: FunctionType) -> Callable[..., Any]:
    built: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not built:  # by the first call, every name of a hint is defined
            built.append(_built(function))
        return built[0](*args, **kwargs)

    return call


def _built(function: FunctionType) -> Callable[..., Any]:
    """The function with its checks."""
    hints = {
        name: _resolved(hint, function.__globals__)
        for name, hint in function.__annotations__.items()
    }
    # The function with annotations that beartype need not look up, and those of its own as before.
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    copy.__annotations__ = hints
    by_beartype = beartype(copy, conf=_AS_JAXTYPED)
    axes = [axes for hint in hints.values() for axes in _axes(hint)]
    if not axes:
        return by_beartype
    if any("{" in named for named in axes):  # a size that an argument of the call tells
        return _JAXTYPED(function, typechecker=beartype)

    def with_axes(*args: Any, **kwargs: Any) -> Any:
        with _CALL:
            return by_beartype(*args, **kwargs)

    return with_axes


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """The type behind a hint; `Any` where only a type checker knows a name of the hint."""
    if isinstance(hint, type):
        return hint

    def holder() -> None: ...

    holder.__annotations__ = {"hint": hint}
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["hint"]
    except (NameError, AttributeError) as error:
        if error.name not in _FOR_TYPE_CHECKERS:
            raise
        return Any


def _axes(hint: Any) -> list[str]:
    """The axes of every array within a hint, as the hint writes them."""
    if inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray):
        return [hint.dim_str]
    return [axes for part in typing.get_args(hint) for axes in _axes(part)]
