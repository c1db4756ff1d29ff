"""The tree under test: the modules that are mutated, and the tests of each module.

`mutants.py` runs the tests.
"""

import ast
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MODULES = (
    "search",
    "objectives",
    "metrics",
    "catalog",
    "recommender.py",
    "evaluation/evaluator.py",
    "training/candidate_tree.py",
    "training/checkpoint.py",
    "training/rewards.py",
    "training/preference.py",
)
"""The modules that are mutated, below `src/sidestep`."""

NEAR: Mapping[str, tuple[str, ...]] = {
    "search": ("search/test_every_policy.py",),
    "search/beam.py": ("search/test_beam_and_exhaustive.py",),
    "search/budget.py": ("search/test_ved.py",),
    "search/exclusion.py": ("search/test_beam_and_exhaustive.py", "test_recommender.py"),
    "search/exhaustive.py": ("search/test_beam_and_exhaustive.py", "search/test_guided_beam.py"),
    "search/levels.py": ("search/test_beam_and_exhaustive.py", "search/test_sampling.py"),
    "search/process_reward.py": ("bundle/test_process_rewards.py",),
    "search/scorer.py": ("search/test_guided_beam.py",),
    "search/tree.py": ("search/test_beam_and_exhaustive.py", "search/test_ved.py"),
    "search/ved_ledger.py": ("search/test_ved.py", "search/test_ved_walks.py"),
    "search/ved_rules.py": ("search/test_ved.py",),
    "search/ved_walks.py": ("search/test_ved.py",),
    "catalog": ("catalog/test_catalog.py", "catalog/test_trie.py"),
    "objectives/choices.py": ("objectives/test_advantages.py", "objectives/test_policy.py"),
    "objectives/value.py": ("training/test_candidate_tree.py",),
    "objectives/weighting.py": ("objectives/test_cross_entropy.py",),
    "recommender.py": ("search/test_beam_and_exhaustive.py",),
    "training/candidate_tree.py": ("training/test_rollouts.py",),
    "training/rewards.py": ("training/test_rollouts.py",),
}
"""Tests, as paths below `tests`, of a module or of a folder, besides the tests that mirror it."""

WIDE = (
    "baselines",
    "bundle",
    "catalog",
    "evaluation/test_",
    "metrics",
    "model",
    "objectives",
    "search",
    "test_recommender.py",
    "test_step.py",
    "training",
)
"""Starts of the paths, below `tests`, of tests that a survivor has passed if they import its
module. Tests of report pages and of the command line are left out: they take long and check
words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files under test, as they were when the run began.

    files: contents by path.
    modules: modules that are mutated.
    covers: modules that each test file imports, directly or indirectly.
    digest: hash of the package and the tests.
    """

    root: Path
    files: Mapping[str, bytes]
    modules: tuple[str, ...]
    covers: Mapping[str, frozenset[str]]
    digest: str

    @classmethod
    def of(cls, root: Path) -> "Tree":
        """Reads all files that git tracks, or would track if they were added."""
        command = ["git", "ls-files", "-co", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
        paths = sorted(path for path in listed.stdout.split("\n") if (root / path).is_file())
        files = {path: (root / path).read_bytes() for path in paths}
        digest = hashlib.sha256()
        for path in paths:
            if path.startswith(("src/", "tests/")):
                digest.update(path.encode() + b"\0" + files[path] + b"\0")
        wanted = tuple(f"src/sidestep/{module}" for module in MODULES)
        modules = tuple(
            path
            for path in paths
            if path.startswith(wanted) and path.endswith(".py") and "__init__" not in path
        )
        return cls(
            root=root,
            files=files,
            modules=modules,
            covers=_covers(files),
            digest=digest.hexdigest()[:16],
        )

    def copied(self, folder: Path) -> Path:
        """Writes a copy of the tree to a folder."""
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder

    def near(self, module: str) -> list[str]:
        """Test files that mirror a module, and test files that are declared for it."""
        path = Path(module).relative_to("src/sidestep")
        own = [path.parent / f"test_{path.name}"]
        declared = [*NEAR.get(path.as_posix(), ()), *NEAR.get(path.parts[0], ())]
        tests = [f"tests/{test}" for test in [*map(Path.as_posix, own), *declared]]
        return [test for test in dict.fromkeys(tests) if test in self.files]

    def wide(self, module: str) -> list[str]:
        """All other test files that import a module."""
        folders = tuple(f"tests/{folder}" for folder in WIDE)
        near = self.near(module)
        return [
            test
            for test, modules in self.covers.items()
            if module in modules and test.startswith(folders) and test not in near
        ]


def _covers(files: Mapping[str, bytes]) -> dict[str, frozenset[str]]:
    """All modules that each test file imports, directly or indirectly."""
    python = {path for path in files if path.endswith(".py") and path.startswith(("src", "tests"))}
    imports = {path: set(_imports(path, files[path])) & python for path in python}
    covers = {}
    for test in sorted(path for path in python if Path(path).name.startswith("test_")):
        reached, left = {test}, [test]
        while left:
            for other in imports[left.pop()] - reached:
                reached.add(other)
                left.append(other)
        covers[test] = frozenset(reached)
    return covers


def _imports(path: str, source: bytes) -> Iterator[str]:
    """The files that a file may import."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            start = [*package, *(node.module or "").split(".")]
            names = [".".join(start), *(".".join([*start, one.name]) for one in node.names)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # An import path, such as "sidestep.search.beam:BeamSearch".
            module, colon, _ = node.value.partition(":")
            names = [module] if colon and module.startswith("sidestep.") else []
        for name in names:
            place = name.strip(".").replace(".", "/")
            yield from (f"src/{place}.py", f"{place}.py", f"src/{place}/__init__.py")
