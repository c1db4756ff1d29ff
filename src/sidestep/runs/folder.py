"""The folder of a run: the places of its files, its configuration and its inputs.

`train` trains a run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sidestep.files import read_json, write_json
from sidestep.launch import Launch
from sidestep.runs.config import read_config, with_paths
from sidestep.runs.kept_paths import kept, seen
from sidestep.runs.locks import LOCK, held
from sidestep.runs.plain_yaml import write_yaml
from sidestep.runs.run_config import RunConfig

_PATHS = ("dataset", "catalog", "ranker")
"""The fields of a `RunInfo` that are paths."""

_TRAINS = "another process is training here; wait for its end, or choose another folder for --out."

_REMEDY = "restore the file, or repeat the 'sidestep train' of this run, which writes it anew."


class RunInfo(BaseModel):
    """The inputs of a run beside its configuration.

    dataset, catalog: the folders, as the working directory sees them; None where there was no
        catalog.
    seed: of the run.
    ranker: the run that was attached to this one, which leaves nothing to train; None for others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    catalog: str | None
    seed: int = Field(ge=0)
    ranker: str | None = Field(default=None, exclude_if=lambda value: value is None)


class _KeptInfo(RunInfo):
    """A `RunInfo` as `run.json` has it: its paths are seen from the folder of the run.

    folder: where the run was when this was written. From there the paths are seen where nothing is
        at them any more, as the run alone was moved or copied. None in runs of older versions,
        whose paths are those that the working directory of their training saw.
    """

    folder: str | None = None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run; the training loop adds `log.jsonl` and checkpoints."""

    path: Path

    @property
    def _info(self) -> Path:
        """The file of the `RunInfo`."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """The configuration, which can be trained from again."""
        return self.path / "config.yaml"

    @property
    def bundle(self) -> Path:
        """The trained recommender."""
        return self.path / "bundle"

    @property
    def log(self) -> Path:
        """The training log."""
        return self.path / "log.jsonl"

    @property
    def alignment_page(self) -> Path:
        """The page of a run of kind align."""
        return self.path / "alignment.html"

    def evaluation(self, name: str) -> Path:
        """The folder of one evaluation."""
        return self.path / "evaluations" / name

    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self._info.is_file()

    def refuse_other_contents(self) -> None:
        """Raises a `ValueError` where training would write into a folder of something else."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise ValueError(f"{self.path}: is a file; choose another folder for --out.")
        strangers = [entry.name for entry in self.path.iterdir() if entry.name != LOCK]
        if strangers and not self.is_run():
            raise ValueError(
                f"{self.path}: exists and is not a run's folder (it holds {min(strangers)}); "
                "choose another folder for --out."
            )
        if self.is_run() and self.info().ranker is not None:
            raise ValueError(
                f"{self.path}: holds a run with a ranker attached, which training would replace; "
                "choose another folder for --out."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps others out while this process, or this launch of several, writes here.

        Raises:
            ValueError: somebody else trains here.
        """
        if not Launch.of_environment().is_first:
            yield
            return
        with held(self.path, refusal=_TRAINS):
            yield

    def refuse_if_held(self) -> None:
        """Raises a `ValueError` where somebody trains here."""
        if self.path.is_dir():
            with held(self.path, refusal=_TRAINS):
                pass

    def write(self, config: RunConfig, info: RunInfo) -> None:
        """Writes the configuration and the inputs of the run."""
        self._write(config, info, self.path)

    def copy_description(self, run: "RunFolder", *, ranker: str, place: Path) -> None:
        """Writes the configuration and the inputs of another run, to which a ranker was attached.

        Args:
            run: the other run.
            ranker: the folder of the ranker.
            place: where this folder, a temporary one, is to stand.

        Raises:
            FileNotFoundError: the other run has no configuration.
            ValueError: its configuration or its description is damaged.
        """
        if not run.config.is_file():
            raise FileNotFoundError(f"{run.config}: missing from the run; {_REMEDY}")
        info = run.info().model_copy(update={"ranker": ranker})
        self._write(read_config(run.config), info, place)

    @staticmethod
    def check_attached(path: Path) -> None:
        """Refuses to replace anything but a run to which a ranker was attached: it learns no more.

        Raises:
            ValueError: something else stands at `path`.
        """
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        folder = RunFolder(path)
        if not folder.is_run() or folder.info().ranker is None:
            raise ValueError(
                f"{path}: is no run that 'sidestep attach' wrote, and would be lost; choose "
                "another place for --out."
            )

    def info(self) -> RunInfo:
        """The description that `write` kept.

        Raises:
            FileNotFoundError: this is no run's folder.
            ValueError: it is damaged; says what to do.
        """
        read = self._kept_info()
        named = {name: getattr(read, name) for name in _PATHS}
        found = {
            name: None if path is None else self._seen(path, read) for name, path in named.items()
        }
        return RunInfo(**found, seed=read.seed)

    def dataset(self, given: Path | None = None) -> Path:
        """The folder of the dataset: the one that is given, else the one that the run names.

        Raises:
            FileNotFoundError: this is no run's folder, or the dataset is not where the run says.
            ValueError: the description of the run is damaged; says what to do.
        """
        if given is not None:
            return given
        path = Path(self.info().dataset)
        if not path.is_dir():
            is_old = self._kept_info().folder is None
            old = (
                " from the folder in which the run was trained; call the command there, or"
                if is_old and not path.is_absolute()
                else ";"
            )
            raise FileNotFoundError(
                f"{self._info}: names the dataset {path}, which is not there{old} give the "
                "dataset's folder with --dataset."
            )
        return path

    def _write(self, config: RunConfig, info: RunInfo, place: Path) -> None:
        """Writes the description of a run that is to stand at `place`."""
        named = {name: getattr(info, name) for name in _PATHS}
        paths = {name: None if path is None else kept(path, place) for name, path in named.items()}
        described = _KeptInfo(**paths, seed=info.seed, folder=str(place.absolute()))
        content = with_paths(config.model_dump(mode="json"), lambda path: kept(path, place))
        # First what says that this folder is a run's: a start that is killed can be repeated.
        write_json(self._info, described.model_dump(mode="json"))
        write_yaml(self.config, content)

    def _seen(self, name: str, read: _KeptInfo) -> str:
        """The name in the working directory for a path that `run.json` names."""
        if read.folder is None:
            return name
        here, before = seen(name, self.path), seen(name, Path(read.folder))
        return before if not Path(here).exists() and Path(before).exists() else here

    def _kept_info(self) -> _KeptInfo:
        file = self._info
        if not self.is_run():
            runs = sorted(file.parent for file in self.path.glob("*/run.json"))
            if runs:
                remedy = f"name one of the runs in it, such as {runs[0]}."
            elif (self.path / "manifest.json").is_file():
                remedy = (
                    "it is a bundle alone, as 'sidestep append' and 'sidestep retire' write it. "
                    "It recommends, and it does not say what data it was trained on. Name the run "
                    "that it was made of. In Python, sidestep.evaluate judges a bundle alone by a "
                    "dataset that you name."
                )
            else:
                remedy = "make one with 'sidestep train'."
            raise FileNotFoundError(f"{self.path}: no run here, run.json is missing; {remedy}")
        try:
            return _KeptInfo.model_validate(read_json(file))
        except ValidationError as error:
            raise ValueError(f"{file}: not the description of a run; {_REMEDY}") from error
        except ValueError as error:
            raise ValueError(f"{str(error).removesuffix('.')}; {_REMEDY}") from error
