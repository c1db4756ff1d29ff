import os
import platform
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
from sidestep.cli.allocator import keep_freed_memory
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
import torch
torch.zeros(2**22)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.zeros(2**24)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

on_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's"
)


def answer(keep: str, **settings: str) -> tuple[str, int]:
    """Result of `keep_freed_memory` in a fresh process, and page faults of the process."""
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, keep],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    returned, faults = done.stdout.split()
    return returned, int(faults)


@on_glibc
def test_memory_that_was_freed_is_not_asked_of_the_kernel_again():
    returned, kept = answer("keep")
    _, left_alone = answer("leave")
    assert returned == "True"
    assert kept < left_alone / 4


@on_glibc
def test_an_allocator_that_the_user_has_set_up_is_left_alone():
    assert answer("keep", MALLOC_TRIM_THRESHOLD_="131072")[0] == "False"
