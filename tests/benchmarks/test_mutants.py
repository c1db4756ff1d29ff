"""The mutation run: its changes, the tests that run on them, and its summary."""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

sys.path.insert(0, str(BENCHMARKS))

from mutant_edits import Mutant, is_another_program, mutants_of, optional_arguments  # noqa: E402
from mutant_tree import Tree  # noqa: E402
from mutants import Results, chosen  # noqa: E402

SOURCE = '''"""A module: a < b."""
from x import y

def f(a: "int | None" = 1, *, key: bool = False) -> int:
    """Says a + b."""
    if a < 2 and not key:
        raise ValueError(f"{a} + 1 is min")
    assert a > 0, "a - 1"
    b = torch.where(a >= 3, é.masked_fill(~a, 0.5), max(a, 1))
    b += g(a, key=key, other=a).sum(dim=0)
    b[0] = -a
    h(b)
    return b
'''.encode()


def changes(source: bytes) -> dict[str, set[str]]:
    """Texts that each line becomes, by the original line."""
    made: dict[str, set[str]] = {}
    for mutant in mutants_of("m.py", source, frozenset({"key"})):
        changed = mutant.applied(source).decode().splitlines()
        ast.parse("\n".join(changed))
        before = source.decode().splitlines()
        pairs = enumerate(zip(before, changed, strict=True))
        (line,) = [number for number, (one, other) in pairs if one != other]
        assert line + 1 == mutant.line
        made.setdefault(before[line].strip(), set()).add(changed[line].strip())
    return made


def test_every_change_is_of_one_line_and_still_python():
    made = changes(SOURCE)
    assert made['def f(a: "int | None" = 1, *, key: bool = False) -> int:'] == {
        'def f(a: "int | None" = 2, *, key: bool = False) -> int:',
        'def f(a: "int | None" = 0, *, key: bool = False) -> int:',
        'def f(a: "int | None" = 1, *, key: bool = True) -> int:',
    }
    assert made["if a < 2 and not key:"] == {
        "if a <= 2 and not key:",
        "if a < 2 or not key:",
        "if a < 2 and key:",
        "if a < 3 and not key:",
        "if a < 1 and not key:",
    }
    assert made["b[0] = -a"] == {"b[1] = -a", "b[0] = a", "pass"}
    assert made["h(b)"] == {"pass"}
    assert made["b += g(a, key=key, other=a).sum(dim=0)"] == {
        "b -= g(a, key=key, other=a).sum(dim=0)",
        "b += g(a, other=a).sum(dim=0)",
        "b += g(a, key=key, other=a).mean(dim=0)",
        "b += g(a, key=key, other=a).sum(dim=1)",
        "pass",
    }
    chosen = made["b = torch.where(a >= 3, é.masked_fill(~a, 0.5), max(a, 1))"]
    assert "b = torch.where(a >= 3, é, max(a, 1))" in chosen
    assert "b = torch.where(a >= 3, é.masked_fill(a, 0.5), max(a, 1))" in chosen
    assert "b = é.masked_fill(~a, 0.5)" in chosen
    assert "b = max(a, 1)" in chosen
    assert "b = torch.where(a >= 3, é.masked_fill(~a, 1.0), max(a, 1))" in chosen
    assert "b = torch.where(a >= 3, é.masked_fill(~a, 0.5), min(a, 1))" in chosen


def test_messages_docstrings_assertions_and_annotations_stay():
    touched = changes(SOURCE)
    for line in ("raise", "assert", '"""', "from", "return"):
        assert not any(one.startswith(line) for one in touched)


@pytest.mark.parametrize(("after", "expected"), [("(b)", False), ("b)", False), ("c", True)])
def test_what_reads_as_before_or_is_no_python_is_no_mutant(after, expected):
    changed = Mutant(
        path="m.py", line=1, column=4, start=4, end=5, kind="call", before="b", after=after
    )
    assert is_another_program(changed, b"a = b\n") == expected


def test_arguments_with_a_default_may_be_left_out():
    source = b"class C:\n    a: int\n    b: int = 1\n\ndef f(c, d=1, *, e, g=2): ...\n"
    assert optional_arguments([source]) >= {"b", "d", "g"}
    assert not optional_arguments([source]) & {"a", "c", "e"}


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.of(BENCHMARKS.parent)


def test_every_mutated_module_has_tests_near_it(tree):
    assert len(tree.modules) > 40
    for module in tree.modules:
        assert tree.near(module), f"{module} has no tests near it; declare some in NEAR"


def test_tests_further_away_are_those_that_import_the_module(tree):
    wide = tree.wide("src/sidestep/search/ved_rules.py")
    assert "tests/training/test_alignment.py" in wide  # by way of the searches
    assert "tests/search/test_ved_rules.py" not in wide  # it is near
    assert "tests/metrics/test_ranking.py" not in wide
    assert not [test for test in wide if test.startswith("tests/cli")]


def test_the_same_seed_draws_the_same_mutants(tree):
    def drawn(seed):
        asked = argparse.Namespace(only=["metrics/ranking"], survivors=False, seed=seed, num=7)
        return [one.name for one in chosen(tree, asked, Results(None, tree.digest))]

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 7
    assert all(name.startswith("src/sidestep/metrics/ranking.py:") for name in drawn(1))


def test_a_run_goes_on_from_its_results_and_those_of_another_tree_name_survivors(tmp_path):
    results = Results(tmp_path / "a.jsonl", "now")
    results.add({"mutant": "one", "outcome": "survived"})
    results.add({"mutant": "two", "outcome": "killed"})
    results.add({"tests": "tests/test_step.py", "seconds": 1.5})
    again = Results(tmp_path / "a.jsonl", "now")
    assert set(again.judged) == {"one", "two"}
    assert again.seconds == {"tests/test_step.py": 1.5}
    other = Results(tmp_path / "a.jsonl", "later")
    assert not other.judged
    assert not other.seconds
    assert other.survivors == {"one"}
    other.add({"mutant": "one", "outcome": "killed"})
    assert not Results(tmp_path / "a.jsonl", "now").survivors


def test_a_mutant_is_killed_in_a_copy_and_the_tree_stays_as_it_is(tmp_path):
    """A package of one line, its test, a mutant that the test notices, and one that it cannot."""
    small = tmp_path / "tree"
    module, test = "src/sidestep/metrics/one.py", "tests/metrics/test_one.py"
    files = {
        "src/sidestep/__init__.py": "",
        "src/sidestep/metrics/__init__.py": "",
        module: "def double(x):\n    return 2 * x\n\n\ndef unseen(x):\n    return 2 * x\n",
        test: "from sidestep.metrics.one import double\n\n\n"
        "def test_it():\n    assert double(3) == 6\n",
    }
    for path, text in files.items():
        (small / path).parent.mkdir(parents=True, exist_ok=True)
        (small / path).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=small, check=True)
    script = (
        "import sys; from pathlib import Path; import mutants; "
        "mutants.ROOT = Path(sys.argv.pop(1)); mutants.main()"
    )
    command = [sys.executable, "-c", script, str(small), "--results", str(tmp_path / "r.jsonl")]
    said = subprocess.run(
        [*command, "--num", "50"], check=True, capture_output=True, text=True, cwd=BENCHMARKS
    ).stdout
    summary = json.loads(said.splitlines()[-1])
    assert summary["outcomes"] == {"killed": 3, "survived": 3}  # 3 · x, 1 · x, 2 / x; of each line
    assert said.count("survived: src/sidestep/metrics/one.py:6:") == 3
    assert {path: (small / path).read_text() for path in files} == files
    again = subprocess.run(
        [*command, "--num", "50"], check=True, capture_output=True, text=True, cwd=BENCHMARKS
    ).stdout
    assert again.startswith("6 mutants, 6 judged before")
