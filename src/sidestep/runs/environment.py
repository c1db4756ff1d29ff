"""The commit, machine and command line of a process, for lines of results files."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from sidestep.lazy_imports import imported_when_used

with imported_when_used():
    from sidestep.runs import devices


def git_commit(folder: Path | None = None) -> str | None:
    """The commit of the working tree, with "-dirty" if it is changed; None outside of git."""
    try:
        commit = _git(["rev-parse", "--short=12", "HEAD"], folder)
        is_dirty = bool(_git(["status", "--porcelain", "--untracked-files=no"], folder))
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if is_dirty else commit


def machine() -> str:
    """The processor, its cores that this process may use, the GPU if any, and torch."""
    return ", ".join([_processor(), f"{_num_cores()} cores", *devices.gpu_and_torch()])


def command_line() -> str:
    """The command line of this process, with quotes where a shell needs them."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _git(arguments: list[str], folder: Path | None) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
