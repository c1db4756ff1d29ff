"""Errors of the library as refusals of a request."""

from collections.abc import Callable
from typing import Any, TypeVar

from sidestep.service.asking import RefusalError
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


def refusal(error: Exception) -> RefusalError:
    """The refusal of a request for an error of the library."""
    if isinstance(error, RefusedBundleError):
        return RefusalError(409, str(error))
    if isinstance(error, FileNotFoundError):
        return RefusalError(404, str(error))
    if isinstance(error, UnsteadyError):
        return RefusalError(503, str(error), retry_after_s=1)
    return RefusalError(422, str(error.args[0]) if isinstance(error, KeyError) else str(error))
