"""The Hugging Face hub: repositories of models that hold bundles. Needs the extra `hf`.

`Hub` makes few calls of `huggingface_hub.HfApi`, and turns their errors into sentences. It knows
names of files and no bundle; `publishing` knows what a bundle is.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import huggingface_hub
    from huggingface_hub import errors
except ImportError as error:
    raise ImportError(
        "the hub needs huggingface_hub, of the extra `hf`: pip install 'sidestep[hf]'."
    ) from error

_LOG_IN = "log in with 'hf auth login', or set the environment variable HF_TOKEN."

_TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")
"""Libraries whose errors mean that no answer came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository at one commit.

    commit: its hash.
    names: the paths of its files.
    is_private: whether only some people may read it.
    """

    commit: str
    names: tuple[str, ...]
    is_private: bool


class Hub:
    """The hub, as far as bundles need it."""

    def __init__(self, *, writes: bool) -> None:
        """Connects when something is asked.

        Args:
            writes: whether a token is needed.

        Raises:
            ValueError: a token is needed, and there is none.
        """
        self._api = make_api(writes=writes)

    def at(self, name: str, revision: str | None = None) -> Repository:
        """A repository at a revision.

        Args:
            name: OWNER/NAME.
            revision: a branch, a tag or a commit; None is the main branch.

        Raises:
            ValueError: there is no such repository or revision, or the token may not read it.
            ConnectionError: the hub cannot be reached.
        """
        with _told(name, revision):
            info = self._api.repo_info(name, revision=revision, repo_type="model")
        names = tuple(sibling.rfilename for sibling in info.siblings or ())
        return Repository(commit=info.sha, names=names, is_private=bool(info.private))

    def make(self, name: str, *, private: bool, revision: str | None) -> Repository:
        """A repository to write to; made where there is none.

        Args:
            name: OWNER/NAME.
            private: whether a new repository is private.
            revision: a branch, which is made where there is none; None is the main branch.

        Raises:
            ValueError: the token may not write there.
            ConnectionError: the hub cannot be reached.
        """
        with _told(name, revision):
            self._api.create_repo(name, repo_type="model", private=private, exist_ok=True)
            if revision is not None:
                self._api.create_branch(name, branch=revision, repo_type="model", exist_ok=True)
        return self.at(name, revision)

    def commit(
        self,
        name: str,
        files: Mapping[str, Path | bytes],
        *,
        deleted: Collection[str],
        message: str,
        revision: str | None,
        parent: str,
    ) -> str:
        """Writes files in one commit, and returns its hash: all of them are there, or none.

        Args:
            name: OWNER/NAME.
            files: the files or their contents, by path in the repository.
            deleted: paths of files that are taken away.
            message: of the commit.
            revision: see `make`.
            parent: the commit that must still be the latest.

        Raises:
            ValueError: the hub refuses, for instance because somebody else has written meanwhile.
            ConnectionError: the hub cannot be reached.
        """
        operations: list[Any] = [
            huggingface_hub.CommitOperationAdd(
                path_in_repo=place,
                path_or_fileobj=content if isinstance(content, bytes) else str(content),
            )
            for place, content in files.items()
        ]
        operations += [
            huggingface_hub.CommitOperationDelete(path_in_repo=place) for place in sorted(deleted)
        ]
        with _told(name, revision):
            made = self._api.create_commit(
                name,
                operations,
                commit_message=message,
                repo_type="model",
                revision=revision,
                parent_commit=parent,
            )
        return str(made.oid)

    def download(self, name: str, commit: str, names: Collection[str], folder: Path) -> None:
        """Writes some files of a repository into a folder, and nothing else.

        Args:
            name: OWNER/NAME.
            commit: its hash.
            names: paths of files.
            folder: which is there.

        Raises:
            ValueError: the token may not read the repository.
            ConnectionError: the hub cannot be reached.
        """
        with _told(name, commit):
            self._api.snapshot_download(
                name,
                repo_type="model",
                revision=commit,
                local_dir=folder,
                allow_patterns=sorted(names),
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # notes of the library's own


def make_api(*, writes: bool) -> Any:
    """The client of the hub, with the token of the machine.

    Raises:
        ValueError: `writes` is true, and there is no token.
    """
    if writes and huggingface_hub.get_token() is None:
        raise ValueError(f"there is no token for the hub; {_LOG_IN}")
    return huggingface_hub.HfApi(library_name="sidestep")


@contextmanager
def _told(name: str, revision: str | None) -> Iterator[None]:
    """Turns errors of the library into sentences that name the repository and a remedy."""
    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise ValueError(
            f"{name}: there is no revision {revision!r}; name a branch, a tag or a commit of this "
            "repository."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(
            f"{name}: there is no such repository, or you may not read it; check the name, or "
            f"{_LOG_IN}"
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise ValueError(f"{name}: there is no token for the hub; {_LOG_IN}") from error
    except errors.HfHubHTTPError as error:
        raise ValueError(f"{name}: {_refusal(error)}") from error
    except (ConnectionError, TimeoutError, errors.LocalEntryNotFoundError) as error:
        raise _unreachable(name) from error
    except errors.HFValidationError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _TRANSPORT:
            raise _unreachable(name) from error
        raise


def _refusal(error: errors.HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the hub does not permit this with your token ({status}); {_LOG_IN}"
    if status in (409, 412):
        return "somebody else has written there meanwhile; give the same command again."
    message = error.server_message or "no reason"
    return f"the hub refuses with {status} ({message}); try again later."


def _unreachable(name: str) -> ConnectionError:
    return ConnectionError(
        f"{name}: the hub cannot be reached; check the network and HF_HUB_OFFLINE, or share the "
        "bundle by a folder ('sidestep push RUN --folder FOLDER')."
    )
