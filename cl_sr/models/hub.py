"""Checkpoints on the Hugging Face hub, `hf:owner/name[@revision]`; its cache, token and errors are
those of huggingface_hub.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cl_sr.errors import InputError
from cl_sr.models.description import CONFIG, MEMORY, WEIGHTS, is_checkpoint, read_description

PREFIX = "hf:"
NAME = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?"
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
TO_FOLDER = "connect (HF_HUB_OFFLINE must not be set), or export to a folder"
FROM_FOLDER = (
    "connect (HF_HUB_OFFLINE must not be set), or copy an exported folder here and name it; it is "
    "not whole in the cache of the hub"
)
CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")  # HTTP, by version


@dataclass(frozen=True)
class HubPlace:
    """A repository of models.

    Attributes:
        repository: `owner/name`.
        revision: a branch, tag or commit; None: the main branch.
    """

    repository: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubPlace:
        """From `hf:owner/name[@revision]`.

        Raises:
            InputError: it is none.
        """
        match = re.fullmatch(rf"{PREFIX}({NAME}/{NAME})(?:@([\w./-]+))?", text, re.ASCII)
        if not match or re.search(r"--|\.\.", match[1]) or match[1].endswith(".git"):
            raise InputError(
                f"{text} is no place on the hub: write hf:owner/name, or with @revision"
            )
        return cls(match[1], match[2])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def is_on_hub(path: Path | str) -> bool:
    """Whether it is written as a place on the hub, and not as a path."""
    return str(path).startswith(PREFIX)


def local(place: Path | str) -> Path:
    """A path as it is; what is on the hub, fetched.

    Raises:
        InputError: see `HubPlace.parse` and `fetch`.
    """
    return fetch(HubPlace.parse(str(place))) if is_on_hub(place) else Path(place)


def fetch(place: HubPlace) -> Path:
    """A checkpoint from the hub, in huggingface_hub's cache: what is there already is not loaded.

    Without a network, what the cache has is taken.

    Returns:
        its folder.

    Raises:
        InputError: there is no such place, it may not be read, it is no checkpoint of cl-sr, or the
            hub cannot be reached.
    """
    with _explained(place, FROM_FOLDER):
        from huggingface_hub import snapshot_download

        folder = Path(
            snapshot_download(place.repository, revision=place.revision, allow_patterns=[CONFIG])
        )
    if not (folder / CONFIG).is_file():
        raise InputError(f"{place} is no model of cl-sr: it has no {CONFIG}")
    read_description(folder)  # what is another's is told before gigabytes are fetched
    with _explained(place, FROM_FOLDER):
        # The same commit, whatever has been pushed since.
        snapshot_download(
            place.repository, revision=folder.name, allow_patterns=[CONFIG, WEIGHTS, MEMORY]
        )
    if not is_checkpoint(folder):
        raise InputError(f"{place} has no {WEIGHTS}: export it again")
    return folder


def check_free(place: HubPlace, overwrite: bool) -> None:
    """Refuse a place that `publish` could not take, changing nothing.

    Raises:
        InputError: no token, a repository with files that are not to be replaced, or no network.
    """
    with _explained(place, TO_FOLDER):
        from huggingface_hub import get_token, model_info
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        if get_token() is None:
            raise InputError(f"{place}: writing to the hub needs a token: {LOG_IN}")
        try:
            about = model_info(place.repository, revision=place.revision)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return
        there = {file.rfilename for file in about.siblings or []}
        if there - {".gitattributes"} and not overwrite:
            raise InputError(
                f"{place} has files: choose another name or revision, or add --overwrite (the hub "
                "keeps its history)"
            )


def publish(
    folder: Path, place: HubPlace, *, private: bool, message: str, replaces: Sequence[str]
) -> str:
    """Put a folder on the hub, as one commit; the repository is made where there is none.

    Args:
        folder: of files.
        place: where; its revision is a branch.
        private: whether a repository that is made is.
        message: of the commit.
        replaces: patterns of files that go, where the folder has none of their names.

    Returns:
        the address of the commit.

    Raises:
        InputError: the hub refuses it, or cannot be reached.
    """
    with _explained(place, TO_FOLDER):
        from huggingface_hub import create_branch, create_repo, upload_folder

        create_repo(place.repository, private=private or None, exist_ok=True)
        if place.revision:
            create_branch(place.repository, branch=place.revision, exist_ok=True)
        commit = upload_folder(
            repo_id=place.repository,
            folder_path=folder,
            revision=place.revision,
            commit_message=message,
            delete_patterns=list(replaces),
        )
    return commit.commit_url


@contextmanager
def _explained(place: HubPlace, otherwise: str) -> Iterator[None]:
    """What goes wrong between here and the hub, as one line with the remedy.

    Args:
        place: there.
        otherwise: what to do where there is no network.
    """
    try:
        yield
    except InputError:
        raise
    # Besides its own errors there are those of the HTTP client, which differs with its version.
    except Exception as error:
        raise InputError(_told(error, place, otherwise)) from error


def _told(error: Exception, place: HubPlace, otherwise: str) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    for cause in _causes(error):
        if isinstance(cause, GatedRepoError):
            page = f"{constants.ENDPOINT}/{place.repository}"
            return f"{place} is gated: ask for access on {page}, then {LOG_IN}"
        if isinstance(cause, RevisionNotFoundError):
            return f"{place}: {place.repository} has no such branch, tag or commit"
        if isinstance(cause, RepositoryNotFoundError):
            return f"{place}: no such repository that you may use; if it is private, {LOG_IN}"
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            if status in (401, 403):
                return (
                    f"the hub refuses {place} ({status}): {LOG_IN} to a token that has the rights"
                )
            return f"the hub answers {status} for {place}: {cause.server_message or cause}"
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"no room for {place} in {constants.HF_HUB_CACHE}: make some, or set HF_HOME"
        if isinstance(cause, PermissionError):
            return f"cannot write to {constants.HF_HUB_CACHE} ({cause}): set HF_HOME"
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in CLIENTS:
        cause = [*_causes(error)][-1]
        return f"the hub cannot be reached for {place} ({type(cause).__name__}): {otherwise}"
    return f"{place}: {type(error).__name__}: {error}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
