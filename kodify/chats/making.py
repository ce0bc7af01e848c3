"""How an answer is made: generated, written down as it grows, written down when it has ended, then told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from kodify import generation
from kodify.chats.answer import Answer
from kodify.chats.store import Store
from kodify.chats.stream import Ending
from kodify.engine.base import Engine, Screening
from kodify.errors import UnavailableError
from kodify.journal import CUT, Record
from kodify.line import Line
from kodify.metrics import Metrics

log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.4
CHARACTERS_A_SECOND = 50_000  # that are written down again and again
BEAT_EVERY_S = 4.0
RETRIES_S = (0.5, 1.0, 2.0, 4.0, 8.0)

Conclusion = Callable[[str, str | None], dict[str, Any]]  # of the text and its finish reason: action, diff


async def make(
    answer: Answer,
    store: Store,
    engine: Engine,
    metrics: Metrics,
    *,
    record: Record | None,
    screen: Screening | None,
    line: Line | None,
    who: str,
    conclude: Conclusion | None,
) -> None:
    """`conclude` makes more of a whole answer, in a thread."""
    if screen is not None:
        answer.first = screen
    writing = asyncio.create_task(_write_progress(answer, store))
    try:
        await generation.run(engine, answer.job, answer, answer.over, metrics, record, None, screen, line, who)
    except Exception as error:
        answer.fail(error)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        if record is not None:
            record.end(CUT, None, cancelled=True)
    text = answer.text
    more: dict[str, Any] = {}
    if conclude is not None and answer.finished and not answer.failed:
        more = await asyncio.to_thread(conclude, text, answer.finish_reason)
    ending = _ending(answer, more)
    await _write_end(answer, store, text, ending, more)
    answer.end(ending)


def _ending(answer: Answer, more: dict[str, Any]) -> Ending:
    fields: dict[str, Any] = {"model": answer.job.model, "usage": answer.usage}
    if answer.sources is not None:
        fields["sources"] = answer.sources
    if answer.failed and answer.error is not None:
        return Ending("error", answer.error.message, {**fields, "code": answer.error.status, "finish_reason": None})
    if not answer.finished:
        return Ending("stopped", None, {**fields, "finish_reason": "stopped"})
    fields["finish_reason"] = answer.finish_reason
    fields |= {name: more[name] for name in ("diff", "complaint") if more.get(name)}
    return Ending("done", None, fields)


async def _write_progress(answer: Answer, store: Store) -> None:
    """Stops the answer where it is to end, or is no longer there."""
    written, beat_at = 0, time.monotonic()
    while True:
        await asyncio.sleep(max(WRITE_EVERY_S, answer.length / CHARACTERS_A_SECOND))
        if answer.length == written and time.monotonic() - beat_at < BEAT_EVERY_S:
            continue
        text = answer.text
        try:
            async with store.queries() as queries:
                is_to_end = await queries.update_progress(answer.id, _kept(text))
        except UnavailableError:
            continue
        except Exception:
            log.exception("an answer could not be written down on its way")
            continue
        written, beat_at = len(text), time.monotonic()
        if is_to_end is None or is_to_end:
            answer.stop()


async def _write_end(answer: Answer, store: Store, text: str, ending: Ending, more: dict[str, Any]) -> None:
    fields = {
        "content": _kept(text),
        "status": ending.status,
        "error": ending.error,
        "model": answer.job.model,
        "prompt_tokens": answer.job.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": ending.fields["finish_reason"],
        "diff": _kept(more["diff"]) if more.get("diff") else None,
        "action": {"complaint": more["complaint"]} if more.get("complaint") else None,
    }
    for pause_s in (*RETRIES_S, None):
        try:
            async with store.queries() as queries:
                await queries.update_answer(answer.chat_id, answer.id, store.hours, **fields)
            return
        except UnavailableError as error:
            if pause_s is None:
                return log.error("the end of an answer could not be written down: %s", error.message)
            await asyncio.sleep(pause_s)


def _kept(text: str) -> str:
    return text.replace("\0", "\ufffd")  # which PostgreSQL does not take
