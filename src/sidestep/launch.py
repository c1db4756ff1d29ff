"""The launch: this process, and the processes that were started together with it.

`torchrun` starts processes and tells each its place by environment variables.
This module needs no torch. `training/processes.py` connects the processes.
"""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The place of this process among the processes of a launch.

    index: of this process, from 0.
    count: of the processes, on all machines.
    local_index: of this process among those of its machine, from 0.
    """

    index: int = 0
    count: int = 1
    local_index: int = 0

    @staticmethod
    def of_environment() -> "Launch":
        """The launch that the environment tells of; a process of its own where it tells of none."""
        places = [os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if not all(place.isdecimal() for place in places[:2]):
            return Launch()
        index, count, local = (int(place) if place.isdecimal() else 0 for place in places)
        return Launch(index=index, count=count, local_index=local)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.index == 0

    @property
    def is_shared(self) -> bool:
        """Whether there are other processes."""
        return self.count > 1
