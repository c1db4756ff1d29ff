"""Processes that run tests on a mutant: forked from one that has imported all but the package.

`mutants.py` says which.
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
"""Modules that every process would import anew; modules that are not installed are left out."""

OVERTIME = 5.0
"""The multiple of their usual processor time that tests may take."""

ALLOWANCE_S = 30.0
"""Seconds beside that: fewer tests than usual may pay for the same imports."""


@dataclass(slots=True, kw_only=True)
class Run:
    """Some test files in a process of their own.

    failed: the first test that did; None if all passed. "" where the process ended on its own.
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
        """Takes copies in which nothing is changed yet.

        Args:
            copies: folders of the tree; as many processes run at once.
            files: what stands in them.
            memory_bytes: of address space, of each process.
        """
        self.free, self.files = list(copies), files
        self.running: dict[int, Run] = {}
        self.memory_bytes = memory_bytes
        self.number = 0

    def start(self, tests: Sequence[str], seconds: float, mutant: Mutant | None = None) -> None:
        """Runs tests in a free copy, with a mutant in it; stopped far beyond their usual time."""
        copy = self.free.pop()
        run = Run(tests=tests, mutant=mutant, copy=copy)
        if mutant is not None:
            self._write(copy, mutant.path, mutant.applied(self.files[mutant.path]))
        limit = OVERTIME * seconds + ALLOWANCE_S
        # Processor time decides; a test that waits for nothing is ended by the clock.
        run.deadline = run.began + 20 * limit
        sys.stdout.flush()
        run.pid = os.fork()
        if run.pid == 0:
            _in_child(copy, tests, int(limit), self.memory_bytes)
        self.running[run.pid] = run

    def finished(self) -> Run:
        """Waits for the next one to end; its copy is as it was before."""
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
        """Ends what is still running."""
        for pid in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self.running.clear()

    def _close(self, run: Run, status: int, seconds: float) -> None:
        with contextlib.suppress(ProcessLookupError):  # what a test left behind
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
        """Writes a file with a time of its own: compiled files are known by time and size."""
        (copy / path).write_bytes(content)
        self.number += 1
        when = 1_500_000_000 + self.number
        os.utime(copy / path, (when, when))


REPORT = "mutants-report.json"


def preload() -> None:
    """Imports what every process needs, and not the package: each imports its own copy."""
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
        os.environ["PYTHONPATH"] = str(copy / "src")  # for what tests start
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
    """A plugin of pytest: the first test, or file, that fails."""

    def __init__(self) -> None:
        self.name: str | None = None

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Called for every test."""
        if report.failed and self.name is None:
            self.name = report.nodeid

    def pytest_collectreport(self, report: Any) -> None:
        """Called for every file that is imported."""
        if report.failed and self.name is None:
            self.name = f"{report.nodeid} (cannot be imported)"
