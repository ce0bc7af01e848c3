"""A collection of a running Kodify, by its HTTP API."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from kodify.errors import (
    ConflictError,
    ForbiddenError,
    KodifyError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from kodify.retrieval.base import Held, Origin
from kodify.retrieval.checkouts import Checkout
from kodify.retrieval.library import Put

TIMEOUT_S = 600.0  # a large document on a slow machine
TRIES = 5
_KNOWN: dict[int, type[KodifyError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    503: UnavailableError,
}


class RemoteCollection:
    def __init__(self, server: str, token: str | None, name: str) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._server = server.rstrip("/")
        trust = ssl.create_default_context()  # the host's authorities; httpx would take a list of its own
        self._client = httpx.AsyncClient(base_url=self._server, headers=headers, timeout=TIMEOUT_S, verify=trust)
        self._name = name
        self._path = f"/api/v1/collections/{quote(name, safe='')}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def make_sure(self) -> None:
        try:
            await self._ask("GET", self._path)
        except NotFoundError:
            try:
                await self._ask("POST", "/api/v1/collections", json={"name": self._name})
            except ConflictError:  # another run has made it meanwhile
                await self._ask("GET", self._path)

    async def held(self) -> dict[str, Held]:
        data = (await self._ask("GET", f"{self._path}/documents"))["data"]
        return {one["path"]: Held(one["digest"], one["pieces"], one["skipped"], one["source"]) for one in data}

    async def put(self, path: str, data: bytes, origin: Origin, source: str) -> Put:
        known = {"commit": origin.commit, "repository": origin.repository, "origin": origin.path, "source": source}
        query = {name: value for name, value in known.items() if value is not None}
        told = await self._ask("PUT", f"{self._path}/documents/{quote(path)}", content=data, params=query)
        return Put(told["pieces"], told["skipped"])

    async def remove(self, path: str) -> None:
        await self._ask("DELETE", f"{self._path}/documents/{quote(path)}")

    async def note(self, checkout: Checkout) -> None:
        body = {"repository": checkout.repository, "commit": checkout.commit}
        await self._ask("PATCH", self._path, json=body)

    async def search(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask("POST", f"{self._path}/search", json=body))["data"]
        return found

    async def _ask(self, method: str, path: str, **body: Any) -> Any:
        """Waits where the server says for how long. Raises KodifyErrors."""
        for turn in range(TRIES):
            try:
                answer = await self._client.request(method, path, **body)
            except httpx.HTTPError as error:
                raise UnavailableError(f"{self._server} can't be reached: {error or type(error).__name__}.") from None
            if answer.status_code not in (429, 503) or turn == TRIES - 1:
                break
            await asyncio.sleep(min(30, int(answer.headers.get("retry-after", "5"))))
        if answer.is_success:
            return answer.json() if answer.content else None
        try:
            message = str(answer.json()["message"])
        except (ValueError, KeyError, TypeError):
            message = f"{self._server} answered {answer.status_code}."
        kind = _KNOWN.get(answer.status_code, KodifyError)
        raised = kind(message)
        raised.status = answer.status_code
        raise raised
