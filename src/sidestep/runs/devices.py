"""The devices that torch finds on this machine.

`environment` describes the machine without torch.
"""

import os

import torch


def gpu_and_torch() -> list[str]:
    """The name of the GPU if there is one, and the version of torch."""
    gpus = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return [*gpus, f"torch {torch.__version__}"]


def memory_bytes() -> int:
    """Memory of the GPU if there is one, else of the machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
