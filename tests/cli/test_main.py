"""Start and end of the process: quick, with the right exit code, and without tracebacks."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import sidestep
from sidestep import import_paths
from sidestep.cli.entry import INTERRUPTED
from sidestep.cli.lazy import LazyCommand
from sidestep.cli.main import BUG, MISTAKE, app
from tests.cli.commands import call, run

COMMANDS = typer.main.get_command(app).commands
GROUPS = [name for name, command in COMMANDS.items() if hasattr(command.loaded(), "commands")]
ONES = [(name,) for name in COMMANDS if name not in GROUPS] + [
    (group, name) for group in GROUPS for name in COMMANDS[group].loaded().commands
]

STRANGE_TORCH = """\
import sys, time
print("importing", flush=True)
time.sleep({seconds})
raise TypeError("no such thing as torch")
"""


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"  # not inherited
        "from sidestep.cli.entry import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def path_with_torch(tmp_path):
    """Makes a PYTHONPATH whose torch takes a while to import and then fails."""

    def make(seconds: int) -> str:
        (tmp_path / "torch.py").write_text(STRANGE_TORCH.format(seconds=seconds))
        source = Path(sidestep.__file__).parents[1]
        return os.pathsep.join([str(tmp_path), str(source)])

    return make


@pytest.mark.parametrize("arguments", [(), *[(group,) for group in GROUPS], *ONES], ids=str)
def test_every_command_has_help(arguments):
    assert "Usage" in run(*arguments, "--help")


@pytest.mark.parametrize("names", ONES, ids=str)
def test_the_help_of_a_command_has_examples(names):
    assert f"sidestep {' '.join(names)}" in " ".join(run(*names, "--help").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(name):
    listed = COMMANDS[name]
    assert isinstance(listed, LazyCommand)
    assert listed.help == listed.loaded().help.partition("\n\n")[0].replace("\n", " ")


def test_the_version_needs_no_command():
    assert run("--version") == f"sidestep {sidestep.__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("--show-completion", "bash")], ids=" ".join
)
def test_what_only_speaks_of_commands_imports_nothing_heavy(arguments, path_with_torch):
    # typer finds the shell among the parent processes; a test may have no shell among them.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    process = started(*arguments, PYTHONPATH=path_with_torch(0), **named)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "importing" not in out


@pytest.mark.parametrize(
    ("typed", "expected"), [("sidestep tok", "tokenize"), ("sidestep embed --di", "--dim")]
)
def test_the_shell_completes_commands_and_options(typed, expected):
    process = started(
        **{
            "_SIDESTEP_COMPLETE": "complete_bash",
            "_TYPER_COMPLETE_ARGS": typed,
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        }
    )
    out, err = process.communicate()
    assert expected in out.split(), err


def test_ctrl_c_while_modules_load_leaves_without_a_traceback(path_with_torch, tmp_path):
    process = started("demo", "--out", tmp_path / "demo", PYTHONPATH=path_with_torch(60))
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (INTERRUPTED, "Stopped.\n")


def test_a_bug_is_one_sentence_and_with_debug_a_traceback(path_with_torch, tmp_path):
    command = ("demo", "--out", tmp_path / "demo")
    told = started(*command, PYTHONPATH=path_with_torch(0))
    _, err = told.communicate()
    assert told.returncode == BUG
    assert "Traceback" not in err
    assert "Bug: TypeError: no such thing as torch (torch.py, line 4)" in err
    assert "sidestep --debug" in err
    shown = started("--debug", *command, PYTHONPATH=path_with_torch(0))
    _, err = shown.communicate()
    assert shown.returncode == BUG
    assert "Traceback" in err


def test_a_mistake_is_one_sentence_and_with_debug_a_traceback(tmp_path):
    process = started("compare", tmp_path / "nowhere")
    out, err = process.communicate()
    assert (process.returncode, out) == (MISTAKE, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert isinstance(call("--debug", "compare", "nowhere").exception, FileNotFoundError)


@pytest.fixture
def no_own_code(monkeypatch):
    """Earlier tests may have named modules of the tests as code of a user's own."""
    monkeypatch.setattr(import_paths, "_own_places", set())


@pytest.mark.usefixtures("no_own_code")
def test_a_missing_extra_is_a_mistake_and_a_broken_install_is_a_bug(monkeypatch):
    def load(error):
        def loaded(command):
            raise error

        monkeypatch.setattr(LazyCommand, "loaded", loaded)
        return call("embed", "--help").exit_code

    assert load(ImportError("needs the extra `hf`: pip install 'sidestep[hf]'.")) == MISTAKE
    assert load(ModuleNotFoundError("No module named 'numpy'", name="numpy")) == BUG


@pytest.mark.usefixtures("no_own_code")
def test_memory_that_is_not_there_is_told_as_such(monkeypatch):
    def loaded(command):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB")

    monkeypatch.setattr(LazyCommand, "loaded", loaded)
    done = call("train")
    assert done.exit_code == MISTAKE
    assert "lower the batch size" in done.stderr


def test_the_package_itself_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "sidestep", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("sidestep ")
