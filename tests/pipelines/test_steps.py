"""Steps of pipelines: settings become arguments of a command that is no command of a terminal."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from sidestep.pipelines.commands import MistakenArgumentError, Option
from sidestep.pipelines.steps import Step, arguments_of


@dataclass
class Recorded:
    """A command that remembers what it was called with, and takes no --dim above 9."""

    options: Sequence[Option] = (
        Option(name="dataset", all_names=(), is_path=True),
        Option(name="--dim", all_names=("--dim", "-d")),
        Option(name="--columns", all_names=("--columns",), is_repeated=True),
        Option(name="--text", all_names=("--text",), off="--no-text", is_flag=True),
        Option(name="--vectors", all_names=("--vectors",), is_path=True),
        Option(name="--dry-run", all_names=("--dry-run",), is_flag=True),
    )
    called: list[list[str]] = field(default_factory=list)

    def check(self, arguments: Sequence[str]) -> None:
        if "--dim" in arguments and int(arguments[arguments.index("--dim") + 1]) > 9:
            raise MistakenArgumentError("is too large.", key="dim")

    def run(self, arguments: Sequence[str]) -> None:
        self.called.append([*arguments])


def read(settings, *, folder, fixed=("shop",)):
    return arguments_of(Recorded(), settings, fixed, folder=folder, where="x.yaml: embed")


def test_settings_become_arguments_by_the_kind_of_their_option(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.npy").touch()
    settings = {"dim": 8, "columns": ["a", "b"], "text": False, "vectors": "v.npy"}
    arguments, paths = read(settings, folder=tmp_path)
    assert arguments == [
        *("shop", "--dim", "8", "--columns", "a", "--columns", "b", "--no-text"),
        *("--vectors", "v.npy"),
    ]
    assert [*paths] == ["vectors"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": 8}, "x.yaml: embed: there is no 'dims'; there are dim, columns, text, vectors"),
        ({"dry_run": True}, "the pipeline itself decides 'dry_run'"),
        ({"dataset": "other"}, "the pipeline itself decides 'dataset'"),
        ({"dim": {"a": 1}}, "dim: {'a': 1} is no value of an option"),
        ({"dim": 10}, "x.yaml: embed: dim: is too large."),
    ],
)
def test_what_is_no_option_is_refused_with_its_place(tmp_path, settings, message):
    with pytest.raises(ValueError, match=r"x\.yaml") as refused:
        read(settings, folder=tmp_path)
    assert message in str(refused.value)


def test_a_file_that_is_not_there_is_refused_with_its_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"x\.yaml: embed: vectors: .* does not exist"):
        read({"vectors": "gone.npy"}, folder=tmp_path)


def test_a_step_runs_and_rehearses_its_command():
    command = Recorded()
    step = Step(
        name="embed",
        words=("sidestep", "embed"),
        command=command,
        arguments=("my shop",),
        product=None,
        made_from={},
    )
    step.run()
    step.rehearse([])
    assert command.called == [["my shop"], ["my shop", "--dry-run"]]
    assert step.line == "sidestep embed 'my shop'"
    assert step.can_be_dry
    assert step.overwriting == step
