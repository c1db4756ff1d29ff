"""Errors of the library as refusals of a request."""

from collections.abc import Callable
from typing import Any, TypeVar

from sidestep.service.asking import Refusal, RefusedError
from sidestep.service.served_bundle import RefusedBundleError, UnsteadyError

T = TypeVar("T")

REFUSALS = (KeyError, TypeError, ValueError, FileNotFoundError, UnsteadyError)
"""Errors of the library that refuse a request."""


def checked(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function; its refusals become those of a request."""
    try:
        return function(*arguments)
    except REFUSALS as error:
        raise refusal(error) from error


def refusal(error: Exception) -> RefusedError:
    """The refusal of a request for an error of the library."""
    if isinstance(error, RefusedBundleError):
        return _refused(409, str(error))
    if isinstance(error, FileNotFoundError):
        return _refused(404, str(error))
    if isinstance(error, UnsteadyError):
        return RefusedError(Refusal(status=503, detail=str(error), retry_after_s=1))
    return _refused(422, str(error.args[0]) if isinstance(error, KeyError) else str(error))


def _refused(status: int, detail: str) -> RefusedError:
    return RefusedError(Refusal(status=status, detail=detail))
