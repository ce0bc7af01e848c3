"""An answer that is made here: the engine speaks into it, and it goes on whoever listens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import orjson

from kodify.chats.stream import Stream
from kodify.engine.base import Delta, Job, Sink
from kodify.errors import KodifyError

log = logging.getLogger(__name__)


class Answer(Stream):
    """Kept as long as it is made; how it ends is told when it is written down."""

    streams = True

    def __init__(self, chat_id: UUID, id: UUID, question_id: UUID, job: Job) -> None:
        super().__init__(chat_id, id, question_id)
        self.job = job
        self.first: Sink = self  # what stands before it, where a censor does
        self.finished = False
        self.failed = False
        self.submitted = False
        self.stopped = False
        self.status = 200
        self.error: KodifyError | None = None
        self.completion_tokens = 0
        self.first_at = 0.0
        self.said: list[list[str]] | None = None
        self.rich: list[Delta] = []
        self.reasons: list[str] = []
        self.on_end: Callable[[], None] | None = None
        self._over = asyncio.Event()

    @property
    def tokens_used(self) -> int:
        return self.job.prompt_tokens + self.completion_tokens if self.submitted else 0

    @property
    def finish_reason(self) -> str | None:
        return self.reasons[0] if self.reasons else None

    def emit(self, delta: Delta) -> None:
        if self.finished:
            return
        self.first_at = self.first_at or time.monotonic()
        self.completion_tokens += len(delta.token_ids)
        if self.said is not None:
            self.said[delta.index].append(delta.text)
        if delta.finish_reason is not None:
            self.reasons.append(delta.finish_reason)
            self.rich.append(delta)
        self.append(delta.text)
        if delta.finish_reason is not None:
            self._finish()

    def fail(self, error: Exception) -> None:
        if self.finished:
            return
        if not isinstance(error, KodifyError):
            log.error("a bug", exc_info=error)
        self.error = error if isinstance(error, KodifyError) else KodifyError()
        self.failed = True
        self.status = self.error.status
        self._finish()

    def cut(self, error: KodifyError) -> None:
        """The server stops."""
        self.first.fail(error)

    def stop(self) -> None:
        """Its user wants no more of it."""
        self.stopped = True
        self._over.set()

    async def over(self) -> None:
        """Returns when nothing more of it is to be made."""
        await self._over.wait()

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        """For the journal."""
        text = "".join(delta.text for delta in choices)
        told: dict[str, Any] = {"answer_id": str(self.id), "message": text, "finish_reason": self.finish_reason}
        if self.error is not None:
            told["error"] = {"message": self.error.message, "type": self.error.type, "code": self.error.status}
        told["usage"] = self.usage
        return orjson.dumps(told)

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        return self.assembled([Delta(0, text)])

    @property
    def usage(self) -> dict[str, int]:
        read, written = self.job.prompt_tokens, self.completion_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}

    def _finish(self) -> None:
        self.finished = True
        if self.on_end is not None:
            self.on_end()
        self._over.set()
