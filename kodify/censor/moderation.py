"""The moderation endpoint: a text goes there, whether it is flagged comes back."""

from __future__ import annotations

import asyncio
import json
import logging

import aiohttp
import msgspec

from kodify.errors import UnavailableError

MOST_AT_ONCE = 64
log = logging.getLogger(__name__)


class _Result(msgspec.Struct):
    flagged: bool


class _Answer(msgspec.Struct):
    results: list[_Result]


class Moderation:
    """Connections are made with the first text and kept until `stop`."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        self._url = url
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token}"
        self._timeout_s = timeout_s
        self._client: aiohttp.ClientSession | None = None
        self._fails = False

    async def flags(self, text: str) -> bool:
        """Raises UnavailableError where the endpoint has no verdict in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, content = await self._ask(json.dumps({"input": text}).encode())
            if status != 200:
                raise ValueError(f"status {status}")
            results = msgspec.json.decode(content, type=_Answer).results
            if not results:
                raise ValueError("no results")
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            if not self._fails:  # once, not for each text
                self._fails = True
                log.error("the censor has no verdict: %s %s", type(error).__name__, error)
            raise UnavailableError() from None
        if self._fails:
            self._fails = False
            log.info("the censor answers again")
        return any(result.flagged for result in results)

    async def stop(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _ask(self, content: bytes) -> tuple[int, bytes]:
        if self._client is None:
            # Without a time limit of its own: a text that waits for a connection is waiting too.
            self._client = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MOST_AT_ONCE),
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            return await _post(self._client, self._url, content)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise
            # A kept connection may have been closed at the other end meanwhile; a verdict changes nothing there.
            return await _post(self._client, self._url, content)


async def _post(client: aiohttp.ClientSession, url: str, content: bytes) -> tuple[int, bytes]:
    async with client.post(url, data=content, allow_redirects=False) as answer:
        return answer.status, await answer.read()
