"""Answers of code actions, whole and streamed: the text, and at last what comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kodify.actions import Action, Outcome, Subject, conclude
from kodify.api.outlet import EVENT_STREAM
from kodify.api.streaming import DONE, Encoder, GeneratedResponse
from kodify.engine.base import Delta, Engine, Job
from kodify.protocol import actions, openai


class ActionAnswer(Encoder):
    """Ends when the outcome is there. A diff of long code takes its time, so it is made in a thread, while other
    answers go on."""

    def __init__(self, job: Job, action: Action, subject: Subject) -> None:
        super().__init__()
        self._job = job
        self._action = action
        self._subject = subject
        self._created = int(time.time())
        self._texts: list[str] = []
        self._last: Delta | None = None
        self._outcome: Outcome | None = None
        self._concluding: asyncio.Task[None] | None = None

    def emit(self, delta: Delta) -> None:
        if self.finished or self._last is not None:
            return
        self.first_at = self.first_at or time.monotonic()
        self.completion_tokens += len(delta.token_ids)
        self._texts.append(delta.text)
        self._show(delta.text)
        if delta.finish_reason is None:
            if self.said is not None:
                self.said[0].append(delta.text)
            return
        self._keep(delta)
        self._last = delta
        self._concluding = asyncio.get_running_loop().create_task(self._conclude(delta.finish_reason))

    async def settled(self) -> None:
        if self._concluding is not None:
            await self._concluding

    def whole(self, choices: Sequence[Delta]) -> dict[str, Any]:
        return {**self._told("".join(self._texts))}

    def plainly_assembled(self, text: str, last: Delta) -> bytes:
        return orjson.dumps(self._told(text))

    def _show(self, text: str) -> None:
        """As it comes."""

    def _say(self) -> None:
        """The end."""
        raise NotImplementedError

    async def _conclude(self, finish_reason: str) -> None:
        text = "".join(self._texts)
        try:
            outcome = await asyncio.to_thread(conclude, self._action, self._subject, text, finish_reason)
        except Exception as error:
            return self.fail(error)
        if not self.finished:
            self._outcome = outcome
            self._say()
            self._end()

    def _told(self, text: str | None) -> dict[str, Any]:
        """`text`: None where it has been told."""
        job, last = self._job, self._last
        told = actions.head(job.id, self._created, job.model, self._action.name)
        if text is not None:
            told["text"] = text
        if self._outcome is not None:
            told |= self._outcome.fields()
        told["finish_reason"] = last.finish_reason if last is not None else None
        cached = last.cached_tokens if last is not None else None
        told["usage"] = openai.usage(job.prompt_tokens, self.completion_tokens, cached)
        return told


class ActionWhole(ActionAnswer):
    def __init__(self, job: Job, action: Action, subject: Subject) -> None:
        super().__init__(job, action, subject)
        self._body = b""

    def assembled(self, choices: Sequence[Delta]) -> bytes:
        return self._body or super().assembled(choices)

    def _say(self) -> None:
        self._body = orjson.dumps(self._told("".join(self._texts)))
        self.outlet.answer(self._body)


class ActionStream(ActionAnswer):
    """Pieces of the text, then one event with everything else."""

    streams = True

    def _show(self, text: str) -> None:
        if not self.outlet.opened:
            self.outlet.open(200, EVENT_STREAM)
        if text:
            self.outlet.write(b"data: %b\n\n" % orjson.dumps(actions.piece(self._job.id, text)))

    def _say(self) -> None:
        self.outlet.write(b"data: %b\n\n%b" % (orjson.dumps(self._told(None)), DONE), last=True)


class ActionResponse(GeneratedResponse):
    def __init__(self, request: Request, engine: Engine, job: Job, answer: ActionAnswer) -> None:
        super().__init__(request, engine, job, answer)
        self._own = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._own.settled()
