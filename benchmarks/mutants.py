"""A mutation run: changes a line, and looks for a test that notices the change.

The changes are those of `mutant_edits`, drawn with a seed from the modules where an error would be
silent. Each change is written into a copy of the tree, never into the tree itself. First, the tests
that mirror the changed module run, with the tests declared for it (`NEAR` in `mutant_tree`). If
these pass, all tests of the folders in `WIDE` run that import the module, directly or indirectly.
Only a mutant that passes these tests too is called a survivor. A test that runs far beyond its
usual time counts as failed. The processes are forked from a process that has imported torch and
pytest, but not the package. So a mutant costs little more than the time of its tests.

As soon as a mutant is judged, it becomes a JSON line of --results. The same call continues a run
that was stopped, as long as no file of the package or of the tests has changed. The last line
printed is a summary; survivors are listed before it.

    python benchmarks/mutants.py --results mutants.jsonl --num 200
    python benchmarks/mutants.py --results mutants.jsonl --only search/ved --num 20
    python benchmarks/mutants.py --results mutants.jsonl --survivors     # after writing tests
    python benchmarks/mutants.py --list --num 20
"""

import argparse
import json
import random
import signal
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mutant_edits import Mutant, is_another_program, mutants_of, optional_arguments
from mutant_runs import Runs, preload
from mutant_tree import MODULES, Tree
from result_line import now, processor

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Draws mutants, runs tests on them and prints a summary."""
    arguments = parsed()
    tree = Tree.of(ROOT)
    kept = Results(arguments.results, tree.digest)
    mutants = chosen(tree, arguments, kept)
    if arguments.list:
        for mutant in mutants:
            print(mutant.name)
        print(json.dumps(dict(Counter(mutant.kind for mutant in mutants))))
        return
    asked = [mutant for mutant in mutants if mutant.name not in kept.judged]
    print(f"{len(mutants)} mutants, {len(mutants) - len(asked)} judged before", flush=True)
    preload()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [tree.copied(Path(folder) / str(n)) for n in range(arguments.processes)]
        runs = Runs(copies, tree.files, memory_bytes=int(arguments.memory_gb * 2**30))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up, as after Ctrl-C
        try:
            seconds = usual_seconds(runs, tree, asked, kept)
            judge(runs, tree, asked, seconds, kept)
        finally:
            runs.stop()
    summary = summed_up([kept.judged[mutant.name] for mutant in mutants])
    print(json.dumps(summary))


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="a file of results to append to")
    parser.add_argument("--num", type=int, default=200, help="mutants to draw [200]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw [0]")
    parser.add_argument(
        "--only", action="append", help="part of a path, like search/ved; may be repeated"
    )
    parser.add_argument("--survivors", action="store_true", help="run the survivors again")
    parser.add_argument("--list", action="store_true", help="only list the mutants of a run")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2, help="at once [2]")
    parser.add_argument("--memory-gb", type=float, default=12.0, help="memory of one process [12]")
    arguments = parser.parse_args()
    if arguments.results is None and not arguments.list:
        parser.error("name a file with --results, so that a run can be continued.")
    if arguments.num < 1:
        parser.error("--num must be at least 1.")
    return arguments


def chosen(tree: Tree, arguments: argparse.Namespace, kept: "Results") -> list[Mutant]:
    """Draws the mutants of this run, in order.

    There are five times as many mutants of numbers as of any other kind. So the share of a kind in
    the draw is proportional to the square root of its number of mutants.
    """
    optional = optional_arguments(
        content
        for path, content in tree.files.items()
        if path.startswith("src/sidestep/") and path.endswith(".py")
    )
    only = arguments.only or [""]
    modules = [path for path in tree.modules if any(part in path for part in only)]
    if not modules:
        sys.exit(f"--only {' '.join(only)}: no such module; there are {', '.join(MODULES)}.")
    every = [one for path in modules for one in mutants_of(path, tree.files[path], optional)]
    if arguments.survivors:
        return [mutant for mutant in every if mutant.name in kept.survivors]
    counts = Counter(mutant.kind for mutant in every)
    generator = random.Random(arguments.seed)
    # Weighted sampling without replacement, Efraimidis and Spirakis (2006).
    keys = {one.name: generator.random() ** (counts[one.kind] ** 0.5) for one in every}
    drawn = sorted(every, key=lambda mutant: -keys[mutant.name])
    real = (mutant for mutant in drawn if is_another_program(mutant, tree.files[mutant.path]))
    return [mutant for mutant, _ in zip(real, range(arguments.num), strict=False)]


class Results:
    """The file of results: mutants that were judged before, and those that are judged now.

    judged: lines of this version of the tree, by mutant.
    survivors: mutants whose last line, of any version of the tree, says that they survived.
    seconds: processor time by test file, of this version of the tree.
    """

    def __init__(self, path: Path | None, digest: str) -> None:
        self.path, self.digest = path, digest
        self.judged: dict[str, dict[str, Any]] = {}
        self.survivors: set[str] = set()
        self.seconds: dict[str, float] = {}
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                self._read(json.loads(line))

    def add(self, line: dict[str, Any]) -> None:
        """Stores a line, on the disk too."""
        line = {**line, "tree": self.digest}
        self._read(line)
        assert self.path is not None
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self, line: dict[str, Any]) -> None:
        is_now = line["tree"] == self.digest
        if "mutant" in line:
            change = self.survivors.add if line["outcome"] == "survived" else self.survivors.discard
            change(line["mutant"])
            if is_now:
                self.judged[line["mutant"]] = line
        elif is_now:
            self.seconds[line["tests"]] = line["seconds"]


def usual_seconds(
    runs: Runs, tree: Tree, mutants: Sequence[Mutant], kept: Results
) -> dict[str, float]:
    """Processor time of every test file that may be needed. Exits if a test fails unmutated."""
    modules = {mutant.path for mutant in mutants}
    tests = {test for path in modules for test in [*tree.near(path), *tree.wide(path)]}
    left = deque(sorted(tests - kept.seconds.keys()))
    if left:
        print(f"timing {len(left)} test files without a mutant", flush=True)
    while left or runs.running:
        while left and runs.free:
            runs.start([left.popleft()], 600.0)
        run = runs.finished()
        if run.failed is not None:
            sys.exit(f"{run.tests[0]} fails without a mutant: {run.failed or 'it was ended'}.")
        kept.add({"tests": run.tests[0], "seconds": round(run.seconds, 2)})
    return dict(kept.seconds)


def judge(
    runs: Runs,
    tree: Tree,
    mutants: Sequence[Mutant],
    seconds: Mapping[str, float],
    kept: Results,
) -> None:
    """Runs the near tests of every mutant, and the wide tests of mutants that pass these."""
    left = deque((mutant, "near") for mutant in mutants)
    stages: dict[str, str] = {}
    spent: Counter[str] = Counter()
    while left or runs.running:
        while left and runs.free:
            mutant, stage = left.popleft()
            stages[mutant.name] = stage
            tests = tree.near(mutant.path) if stage == "near" else tree.wide(mutant.path)
            tests = sorted(tests, key=lambda test: seconds[test])
            runs.start(tests, sum(seconds[test] for test in tests), mutant)
        run = runs.finished()
        assert run.mutant is not None
        mutant, name = run.mutant, run.mutant.name
        spent[name] += run.seconds
        has_more = stages[name] == "near" and tree.wide(mutant.path)
        if run.failed is None and has_more:
            print(f"passes near: {name}", flush=True)
            left.append((mutant, "wide"))  # last, because wide tests take minutes
            continue
        outcome = "survived" if run.failed is None else "late" if run.is_late else "killed"
        if run.failed is not None and run.failed.endswith("(cannot be imported)"):
            outcome = "broken"
        line = {
            "mutant": name,
            "kind": mutant.kind,
            "outcome": outcome,
            "stage": stages[name],
            "by": run.failed,
            "seconds": round(spent[name], 2),
            "date": now(),
        }
        kept.add(line)
        print(f"{len(kept.judged)}. {outcome:8} {stages[name]:4} {name}", flush=True)


def summed_up(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts by outcome and by folder; prints the survivors.

    killed: a test failed. late: tests did not end. broken: the package or a test could not be
    imported. survived: all passed.
    """
    survivors = [line for line in lines if line["outcome"] == "survived"]
    for line in survivors:
        print(f"survived: {line['mutant']}")
    folders = Counter(line["mutant"].split("/")[2].partition(":")[0] for line in survivors)
    return {
        "benchmark": "mutants",
        "mutants": len(lines),
        "outcomes": dict(Counter(line["outcome"] for line in lines)),
        "killed_only_by_wide_tests": sum(
            line["stage"] == "wide" and line["outcome"] != "survived" for line in lines
        ),
        "survivors_by_folder": dict(folders),
        "processor_seconds": round(sum(line["seconds"] for line in lines)),
        "machine": processor(),
        "date": now(),
    }


if __name__ == "__main__":
    main()
