"""Code actions asked of a server, streamed."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

CONNECT_S, SILENCE_S = 10.0, 600.0  # a request may wait in line
MOST_EVENT_BYTES = 64 * 1024 * 1024


class RefusedError(Exception):
    """There is no answer; one sentence says why."""


@dataclass(frozen=True, slots=True)
class Answered:
    """`told`: what came with the end, without the text."""

    text: str
    told: dict[str, Any]

    @property
    def complaint(self) -> str | None:
        return self.told.get("complaint")

    @property
    def is_unchanged(self) -> bool:
        return self.told.get("unchanged") is True


@dataclass(frozen=True, slots=True)
class Server:
    address: str
    token: str | None = None

    def act(self, name: str, body: dict[str, Any], on_text: Callable[[str], None]) -> Answered:
        """`on_text` hears the answer as it comes. Raises RefusedError."""
        texts: list[str] = []
        with self._explained(), self._client() as client:
            data = orjson.dumps({**body, "stream": True})
            with client.stream("POST", f"/v1/actions/{name}", content=data) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise self._refusal(answer)
                for event in _events(answer):
                    if "text" not in event:
                        if "error" in event:
                            raise RefusedError(f"The server broke off: {event.get('message')}")
                        return Answered("".join(texts), event)
                    texts.append(event["text"])
                    on_text(event["text"])
        raise RefusedError("The server broke off before the end of its answer.")

    def _client(self) -> httpx.Client:
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        address = self.address if "://" in self.address else f"http://{self.address}"
        timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        trust = ssl.create_default_context()  # the host's authorities; httpx would take a list of its own
        return httpx.Client(base_url=address.rstrip("/"), headers=headers, timeout=timeout, verify=trust)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            hint = ""
            if "CERTIFICATE" in str(error).upper():
                hint = " Set SSL_CERT_FILE to the certificates (PEM) that your company trusts."
            raise RefusedError(f"{self.address} can't be reached: {str(error).rstrip('.')}.{hint}") from error
        except httpx.TimeoutException as error:
            raise RefusedError(f"{self.address} does not answer in time.") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise RefusedError(f"{self.address} is no address: give http://host:port or https://host.") from error
        except (httpx.HTTPError, UnicodeEncodeError) as error:
            raise RefusedError(f"The connection to {self.address} broke: {error}.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise RefusedError(f"{self.address} does not answer as Kodify does.") from error

    def _refusal(self, answer: httpx.Response) -> RefusedError:
        if answer.status_code == 401:
            what = "does not know this token" if self.token else "wants a token"
            return RefusedError(f"{self.address} {what}: give --token, or set KODIFY_TOKEN.")
        try:
            told = orjson.loads(answer.content)
            message = str(told["message"]) if told["object"] == "error" else None
        except (orjson.JSONDecodeError, LookupError, TypeError):
            message = None
        if message is None:
            return RefusedError(f"{self.address} does not answer as Kodify does (HTTP {answer.status_code}).")
        later = answer.headers.get("retry-after")
        return RefusedError(f"{message.rstrip('.')}.{f' Try again in {later} s.' if later else ''}")


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    """Parted at line feeds only: texts may have other ends of lines."""
    waiting = b""
    for data in answer.iter_bytes():
        *frames, waiting = (waiting + data).split(b"\n\n")
        if len(waiting) > MOST_EVENT_BYTES:
            raise ValueError("an event without an end")
        for frame in frames:
            if frame.startswith(b"data: {"):
                yield orjson.loads(frame.removeprefix(b"data: "))
