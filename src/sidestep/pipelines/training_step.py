"""The work of a pipeline for a step that trains, beside calling its command.

It writes the configuration that the command reads, and moves a run that is out of date away, since
`sidestep train` continues what it finds.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidestep.pipelines.rehearsal import would_stand_for
from sidestep.runs.config import with_paths
from sidestep.runs.folder import RunFolder
from sidestep.runs.plain_yaml import write_yaml
from sidestep.runs.run_config import RunConfig
from sidestep.training.config import RESUMABLE

NEVER_RUN = "never run"
"""The one change of a step that has not begun yet."""

_RESUMABLE = "resumable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The run of a step that trains.

    run: the configuration of the run.
    config: the file from which the command reads the configuration.
    folder: of the run.
    replaced: the folder for runs that are out of date.
    vectors: the file of item vectors that the pipeline makes and the run reads (its key
        `embeddings`); None where the run reads none of the pipeline's.
    """

    run: RunConfig
    config: Path
    folder: Path
    replaced: Path
    vectors: Path | None = None

    def made_from(self, seed: int) -> dict[str, Any]:
        """The settings that decide the network and, apart, those that a resumed run may change."""
        settings = {**self.run.model_dump(mode="json"), "seed": seed}
        how = settings.get("training", {})
        resumable = {key: how.pop(key) for key in RESUMABLE if key in how}
        return {"settings": settings, _RESUMABLE: resumable}

    def prepare(self, changes: Sequence[str]) -> str | None:
        """Writes the configuration, and moves a run away that the command must not continue.

        Args:
            changes: since the step last began, see `Memory.changes`.

        Returns:
            A sentence about the run that was moved away; None if none was.
        """
        moved = None
        if self._is_stale(changes):
            self.replaced.mkdir(exist_ok=True)
            places = (self.replaced / f"{self.folder.name}-{n}" for n in itertools.count(1))
            place = next(place for place in places if not place.exists())
            with RunFolder(self.folder).held():
                shutil.move(self.folder, place)
            moved = f"Moved the run of before to {place}: {'; '.join(changes[:3])}."
        write_yaml(self.config, self.run.model_dump(mode="json"))
        return moved

    def refuse_if_held(self) -> None:
        """Raises a `ValueError` where somebody trains the run, which must not be moved then."""
        RunFolder(self.folder).refuse_if_held()

    @contextmanager
    def rehearsal(self, changes: Sequence[str]) -> Iterator[list[str]]:
        """Options with which a dry run sees what `prepare` would leave; nothing is moved.

        Vectors that are not there yet are left out.
        """
        beside = self.config.parent.absolute()
        content = with_paths(
            self.run.model_dump(mode="json"),
            lambda name: str(beside / name) if (beside / name).exists() else name,
        )
        if self.vectors is not None and not self.vectors.exists():
            content["embeddings"] = None
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / self.config.name
            write_yaml(config, content)
            elsewhere = Path(folder) / self.folder.name
            would_stand_for(elsewhere, self.folder)
            instead = ["--out", str(elsewhere)] if self._is_stale(changes) else []
            yield ["--config", str(config), *instead]

    def _is_stale(self, changes: Sequence[str]) -> bool:
        """Whether the folder holds a run with other settings, which must not be continued."""
        is_other = any(not change.startswith(_RESUMABLE) for change in changes)
        return is_other and list(changes) != [NEVER_RUN] and self.folder.exists()
