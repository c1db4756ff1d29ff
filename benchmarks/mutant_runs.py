"""Processes that run tests on a mutant, forked from a process that has not imported the package.

`mutants.py` chooses mutants and tests.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from mutant_edits import Mutant

PRELOADED = (
    "_pytest.assertion.rewrite",
    "hypothesis",
    "hypothesis.strategies",
    "jaxtyping",
    "beartype",
    "numpy",
    "polars",
    "pydantic",
    "yaml",
    "scipy.optimize",
    "scipy.sparse",
    "scipy.stats",
    "sklearn.cluster",
    "safetensors.torch",
    "accelerate",
    "matplotlib",
)
"""Modules to import before forking, so that not every process imports them again. Modules that are
not installed are left out."""

OVERTIME = 5.0
"""Tests may take this multiple of their usual processor time."""

ALLOWANCE_S = 30.0
"""Further seconds that tests may take: fewer tests than usual may bear the cost of imports."""


@dataclass(slots=True, kw_only=True)
class Run:
    """Some test files in a process of their own.

    failed: the first test that failed; None if all passed; "" if the process ended by itself.
    """

    tests: Sequence[str]
    mutant: Mutant | None
    copy: Path
    pid: int = 0
    deadline: float = 0.0
    began: float = field(default_factory=time.monotonic)
    is_late: bool = False
    failed: str | None = None
    seconds: float = 0.0


class Runs:
    """Processes forked from this one, one per copy of the tree."""

    def __init__(
        self, copies: Sequence[Path], files: Mapping[str, bytes], *, memory_bytes: int
    ) -> None:
        """Takes unchanged copies of the tree.

        Args:
            copies: folders of the copies; one process runs in each at once.
            files: contents of the files of a copy, by path.
            memory_bytes: limit of the address space of each process.
        """
        self.free, self.files = list(copies), files
        self.running: dict[int, Run] = {}
        self.memory_bytes = memory_bytes
        self.number = 0

    def start(self, tests: Sequence[str], seconds: float, mutant: Mutant | None = None) -> None:
        """Runs tests on a mutant in a free copy. Stops them far beyond their usual time."""
        copy = self.free.pop()
        run = Run(tests=tests, mutant=mutant, copy=copy)
        if mutant is not None:
            self._write(copy, mutant.path, mutant.applied(self.files[mutant.path]))
        limit = OVERTIME * seconds + ALLOWANCE_S
        # Processor time decides. The clock ends a test that only waits.
        run.deadline = run.began + 20 * limit
        sys.stdout.flush()
        run.pid = os.fork()
        if run.pid == 0:
            _in_child(copy, tests, int(limit), self.memory_bytes)
        self.running[run.pid] = run

    def finished(self) -> Run:
        """Waits for the next run to end, and restores its copy."""
        while True:
            for run in self.running.values():
                if time.monotonic() > run.deadline:
                    run.is_late = True
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(run.pid, signal.SIGKILL)
            for pid, run in list(self.running.items()):
                ended, status, used = os.wait4(pid, os.WNOHANG)
                if ended:
                    del self.running[pid]
                    self._close(run, status, used.ru_utime + used.ru_stime)
                    return run
            time.sleep(0.02)

    def stop(self) -> None:
        """Ends all runs that are still going."""
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.running.clear()

    def _close(self, run: Run, status: int, seconds: float) -> None:
        with contextlib.suppress(ProcessLookupError):  # processes that a test left behind
            os.killpg(run.pid, signal.SIGKILL)
        run.seconds = seconds
        if os.WIFSIGNALED(status):
            run.is_late |= os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)
            run.failed = ""
        else:
            report = json.loads((run.copy / REPORT).read_text(encoding="utf-8"))
            if report["error"]:
                sys.exit(f"{' '.join(run.tests)}: {report['error']}")
            run.failed = report["failed"]
        (run.copy / REPORT).unlink(missing_ok=True)
        if run.mutant is not None:
            self._write(run.copy, run.mutant.path, self.files[run.mutant.path])
        self.free.append(run.copy)

    def _write(self, copy: Path, path: str, content: bytes) -> None:
        """Writes a file with a new time: Python recognises compiled files by time and size."""
        (copy / path).write_bytes(content)
        self.number += 1
        when = 1_500_000_000 + self.number
        os.utime(copy / path, (when, when))


REPORT = "mutants-report.json"


def preload() -> None:
    """Imports the modules that every process needs, but not the package: each imports its copy."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert not any(name.partition(".")[0] == "sidestep" for name in sys.modules)


def _in_child(copy: Path, tests: Sequence[str], cpu_s: int, memory_bytes: int) -> None:
    """Runs tests, reports the first that fails, and ends the process."""
    report: dict[str, Any] = {"failed": None, "error": None}
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        os.chdir(copy)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        sys.path[:] = [path for path in sys.path if not (Path(path) / "sidestep").is_dir()]
        sys.path[:0] = [str(copy / "src"), str(copy)]
        os.environ["PYTHONPATH"] = str(copy / "src")  # for processes that tests start
        torch.set_num_threads(1)
        first = _FirstFailure()
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--rootdir={copy}"]
        code = pytest.main([*options, *tests], plugins=[first])
        report["failed"] = first.name
        if code not in (0, 1, 2) or (code == 0) != (first.name is None):
            report["failed"] = first.name or f"pytest ended with {int(code)}"
        package = sys.modules.get("sidestep")
        if package is not None and not str(package.__file__).startswith(str(copy)):
            report["error"] = f"the tests imported {package.__file__}, not the copy"
    except BaseException as error:
        report["failed"] = f"{type(error).__name__}: {error}"
    (copy / REPORT).write_text(json.dumps(report), encoding="utf-8")
    os._exit(0)


class _FirstFailure:
    """A plugin of pytest that notes the first test, or file, that fails."""

    def __init__(self) -> None:
        self.name: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Notes a failed test; pytest calls this for every test."""
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """Notes a file that cannot be imported; pytest calls this for every file."""
        if report.failed and self.name is None:
            self.name = f"{report.nodeid} (cannot be imported)"
