"""Qdrant's client: how it is opened, and its errors as ours."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sqlite3
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kodify.errors import KodifyError, NotFoundError, UnavailableError

if TYPE_CHECKING:  # a second to import
    from qdrant_client import QdrantClient

log = logging.getLogger(__name__)

TIMEOUT_S = 30
SHOWN = 200  # characters of an answer, in the log
_AWAY = "The collections can't be reached. Please try again later"
_KEY = "Qdrant refuses Kodify's key: an administrator has to correct QDRANT_API_KEY."


def locked(folder: Path) -> IO[str]:
    """The library's own lock leaves a file open where it is refused. Raises UnavailableError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = (folder / "kodify.lock").open("w")
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise UnavailableError(
            f"Another process has the collections in {folder} open: name that Kodify with --server, or set QDRANT_URL."
        ) from None
    return held


def open_folder(folder: Path) -> QdrantClient:
    """Raises UnavailableError, whatever is broken in the folder."""
    from qdrant_client import QdrantClient

    warnings.filterwarnings("ignore", "Local mode is not recommended")  # beside the shelf it is quick
    try:
        return QdrantClient(path=str(folder), force_disable_check_same_thread=True)
    except Exception as error:
        raise _unusable(folder, error) from error


def open_server(url: str, api_key: str | None) -> QdrantClient:
    from qdrant_client import QdrantClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an API key over plain HTTP: who sets it knows
        return QdrantClient(url=url, api_key=api_key, timeout=TIMEOUT_S, check_compatibility=False)


@contextlib.contextmanager
def of_folder(folder: Path) -> Iterator[None]:
    """Raises UnavailableError where the disk is full, or what is on it can't be read."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _unusable(folder, error) from error


@contextlib.contextmanager
def of_server(name: str | None) -> Iterator[None]:
    """Raises KodifyErrors: NotFoundError where the collection `name` is not there, UnavailableError where another try
    may help, KodifyError itself where Qdrant refuses what it is asked."""
    import httpx
    from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

    try:
        yield
    except ResourceExhaustedResponse as error:
        raise UnavailableError(_AWAY, retry_after_s=error.retry_after_s) from error
    except UnexpectedResponse as error:
        raise _of_status(error.status_code or 0, error.content, name) from error
    except (ApiException, QdrantException, httpx.HTTPError, ValueError) as error:
        log.warning("Qdrant is away, or something else answers at QDRANT_URL: %s", str(error)[:SHOWN])
        raise UnavailableError(_AWAY) from error


def _of_status(status: int, content: bytes, name: str | None) -> KodifyError:
    if status == 404 and name is not None:
        return NotFoundError(f"There is no collection {name}.", param="collection")
    log.warning("Qdrant answered %d: %s", status, content.decode("utf-8", "replace")[:SHOWN])
    if status in (401, 403):
        return UnavailableError(_KEY)
    if 400 <= status < 500 and status not in (404, 408, 429):
        return KodifyError(f"Qdrant refused what it was asked ({status}). The server's log has its answer.")
    return UnavailableError(_AWAY)


def _unusable(folder: Path, error: Exception) -> UnavailableError:
    log.error("the collections in %s can't be used", folder, exc_info=error)
    return UnavailableError(f"The collections in {folder} can't be used: {type(error).__name__}: {error}")
