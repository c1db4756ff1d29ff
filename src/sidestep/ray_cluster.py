"""Ray, the library that spreads work over processes and machines: its import and its start.

Ray is an optional package, the extra `ray`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(address: str | None = None) -> Iterator[Any]:
    """A block in which Ray runs; yields the module of Ray, quiet and without bars of progress.

    If Ray runs in this process already, the block uses it and lets it run on. Bars of progress and
    logs of Ray Data stay off in this process.

    Args:
        address: of a cluster, such as "auto"; None starts Ray on this machine, and ends it again.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no such cluster.
    """
    ray = _ray()
    is_own = not ray.is_initialized()
    if is_own:
        ray.init(
            address=address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield ray
    finally:
        if is_own:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(
            "--engine ray needs Ray, of the extra `ray`: pip install 'sidestep[ray]'."
        ) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
