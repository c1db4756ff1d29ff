"""A hub in memory, with the calls of `huggingface_hub.HfApi` that Sidestep makes.

Every call is also bound to the signature of the real method, so that a call that the library would
not take fails here, too.
"""

import hashlib
import inspect
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, errors


def refusal(kind, status):
    """An error of the library, as it comes from an answer of the hub."""
    request = httpx2.Request("POST", "http://hub.invalid/api")
    return kind("refused", response=httpx2.Response(status, request=request))


@dataclass
class FakeRepository:
    """Branches, which are lists of commits; a commit is a mapping from paths to contents."""

    private: bool
    branches: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)


@dataclass
class FakeHub:
    """The hub. `failing` names calls that raise, with the error."""

    repositories: dict[str, FakeRepository] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    linked: str | None = None

    def _call(self, method, *arguments, **settings):
        inspect.signature(getattr(HfApi, method)).bind(self, *arguments, **settings)
        self.calls.append(method)
        if method in self.failing:
            raise self.failing[method]

    def files(self, name, branch="main"):
        """The latest files of a branch."""
        return self.repositories[name].branches[branch][-1]

    def create_repo(self, name, **settings):
        self._call("create_repo", name, **settings)
        if name not in self.repositories:
            first = {".gitattributes": b"*.safetensors filter=lfs\n"}
            self.repositories[name] = FakeRepository(settings["private"], {"main": [first]})
        assert settings["exist_ok"]

    def create_branch(self, name, **settings):
        self._call("create_branch", name, **settings)
        branches = self.repositories[name].branches
        branches.setdefault(settings["branch"], list(branches["main"]))

    def repo_info(self, name, **settings):
        self._call("repo_info", name, **settings)
        commit, files = self._at(name, settings["revision"])
        siblings = [SimpleNamespace(rfilename=path) for path in sorted(files)]
        private = self.repositories[name].private
        return SimpleNamespace(sha=commit, siblings=siblings, private=private)

    def create_commit(self, name, operations, **settings):
        self._call("create_commit", name, operations, **settings)
        branch = self.repositories[name].branches[settings["revision"] or "main"]
        if settings["parent_commit"] != commit_of(branch):
            raise refusal(errors.HfHubHTTPError, 412)
        files = dict(branch[-1])
        for operation in operations:
            if isinstance(operation, CommitOperationDelete):
                del files[operation.path_in_repo]
            else:
                assert isinstance(operation, CommitOperationAdd)
                with operation.as_file() as file:
                    files[operation.path_in_repo] = file.read()
        branch.append(files)
        return SimpleNamespace(oid=commit_of(branch))

    def snapshot_download(self, name, **settings):
        self._call("snapshot_download", name, **settings)
        _, files = self._at(name, settings["revision"])
        folder = Path(settings["local_dir"])
        (folder / ".cache" / "huggingface").mkdir(parents=True)
        (folder / ".cache" / "huggingface" / "CACHEDIR.TAG").write_text("notes")
        for path, content in files.items():
            if path in settings["allow_patterns"]:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                if path == self.linked:
                    (folder / path).symlink_to("/etc/hostname")
                else:
                    (folder / path).write_bytes(content)
        return str(folder)

    def _at(self, name, revision):
        if name not in self.repositories:
            raise refusal(errors.RepositoryNotFoundError, 404)
        for branch, commits in self.repositories[name].branches.items():
            if (revision in (None, "main") and branch == "main") or revision == branch:
                return commit_of(commits), commits[-1]
            for index in range(len(commits)):
                if commit_of(commits[: index + 1]) == revision:
                    return revision, commits[index]
        raise refusal(errors.RevisionNotFoundError, 404)


def commit_of(branch):
    """The hash of the latest commit of a branch."""
    return hashlib.sha1(repr(branch).encode()).hexdigest()
