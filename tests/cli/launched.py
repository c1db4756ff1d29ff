"""Commands in two processes, as `torchrun` starts them."""

import os
import subprocess
import sys
import time
from pathlib import Path

from sidestep.training.checkpoint import checkpoints


class Launched:
    """Two processes that `torchrun` starts, and what they say."""

    def __init__(self, log: Path, *arguments: object) -> None:
        self.log = log
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "sidestep"]
        with log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *launcher, *map(str, arguments)],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
            )

    def wait_for_checkpoint(self, folder: Path, *, after: Path | None = None) -> None:
        """Waits until there is a checkpoint, or one after another."""
        while checkpoints(folder)[-1:] in ([], [after]):
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)

    def worker(self, index: int) -> int:
        """The process of one place in the launch."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                environment = (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended
            if parent == self.process.pid and f"RANK={index}".encode() in environment:
                return int(path.name)
        raise AssertionError(f"no process {index}")

    def end(self) -> tuple[int, str]:
        """The exit code of the launcher, and all that was said."""
        try:
            # Only against a deadlock: on a busy machine, the imports alone may take a minute.
            code = self.process.wait(timeout=600)
        finally:
            self.process.kill()
        return code, self.log.read_text()
