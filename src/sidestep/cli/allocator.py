"""Memory of the process: what one training step frees, the next one takes.

A training step on a CPU allocates and frees gigabytes of activations. Left to itself, glibc gives
large blocks back to the kernel and has them cleared and mapped again, page by page: a fifth to a
third of the time of a small network. Kept blocks in huge pages cost next to nothing, and less
memory than the fragments that the default leaves behind.
"""

import ctypes
import os
import sys

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_OWN_SETTINGS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Asks glibc to keep freed memory, and torch to use huge pages; before torch is imported.

    Whoever has set the allocator up by environment variables, or preloads another one, keeps it.

    Returns:
        Whether the allocator took it; False where it is another than glibc's.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in _OWN_SETTINGS):
        return False
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # read by torch at its first tensor
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    largest = 2**31 - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, largest) and mallopt(_M_TRIM_THRESHOLD, largest))
