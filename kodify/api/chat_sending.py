"""A message is said in a chat, by whichever door: its answer is on its way when this returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
from starlette.requests import HTTPConnection

from kodify import actions, chats
from kodify.actions import Action, Actions, Subject
from kodify.api import session
from kodify.api.grounding import find, put_before
from kodify.api.middleware import new_id
from kodify.api.models import find_engine, refuse_if_full, who_asks
from kodify.api.outlet import Headers
from kodify.api.running import Shown, asked_by
from kodify.auth import UserLimits
from kodify.censor import Censor
from kodify.chats import Answer, Chats, Said, Turn
from kodify.chats.prompt import SAMPLING, make_job, system_of
from kodify.chats.prompt import Said as PromptMessage
from kodify.chats.turn import gone
from kodify.engine.base import Engine, Job
from kodify.errors import BadRequestError, KodifyError
from kodify.journal import Record
from kodify.protocol.chats import ChatMessage, WantedAction
from kodify.protocol.retrieval import Retrieval


def chat_id_of(connection: HTTPConnection) -> UUID:
    """Raises NotFoundError."""
    try:
        return UUID(connection.path_params["chat_id"])
    except ValueError:
        raise gone() from None


async def send(
    connection: HTTPConnection, chat_id: UUID, wanted: ChatMessage, record: Callable[[], Record | None]
) -> tuple[Turn, Headers]:
    """What was said and is to be answered, and what its sender is told of limits. `record`: takes over the request's,
    when nothing can refuse it any more."""
    state = connection.app.state
    limits: UserLimits | None = getattr(state.auth, "limits", None)
    user_id: int | None = connection.state.principal.user_id
    admission = await limits.admit(user_id) if limits is not None and user_id is not None else None
    is_on_its_way = False
    try:
        found: Chats = state.chats
        owner = session.owner(connection)
        async with found.store.queries() as queries:
            chat = await queries.find_chat(chat_id, owner)
            if chat is None:
                raise gone()
            if not wanted.edit and await queries.measure(chat_id) > found.most_bytes:
                raise BadRequestError("This chat is full. Please begin another.")
            messages = await queries.list_messages(chat_id, owner)
        action = None if wanted.action is None else clean(msgspec.to_builtins(wanted.action))
        text = clean(wanted.message) or (_shown(wanted.action) if wanted.action is not None else "")
        turn = chats.take_turn(messages, text, action, edit=wanted.edit, regenerate=wanted.regenerate)
        engine = find_engine(connection, chat.settings.get("model"))
        refuse_if_full(connection, engine)
        doing = _doing(state.actions, turn.action)
        said, sources = turn.said, None
        if doing is None and chat.settings.get("retrieval") is not None:
            said, sources = await _grounded(connection, engine, chat.settings, turn)
        job = await _job(engine, chat.settings, said, doing)
        async with found.store.queries() as queries:
            await turn.write(queries, chat_id, owner, found.store.hours, found.replica, sources)
        answer = Answer(chat_id, turn.answer_id, turn.question_id, job)
        answer.sources = sources
        dropped = None if turn.dropped_from is None else str(turn.dropped_from)
        shown = Said(str(turn.question_id), turn.question, dropped, turn.action)
        censor: Censor | None = state.censor
        making = chats.make(
            answer,
            found.store,
            engine,
            state.metrics,
            record=record(),
            screen=None if censor is None else censor.screen(job, engine.vocabulary, answer),
            line=state.engines.line_of(engine),
            who=who_asks(connection),
            conclude=None if doing is None else _conclusion(*doing),
        )
        on_its_way = _OnItsWay(connection, answer)
        state.running.add(on_its_way)

        async def made() -> None:
            try:
                await making
            finally:
                state.running.discard(on_its_way)
                if limits is not None and admission is not None:
                    await limits.leave(admission, answer.tokens_used)

        found.make(answer, shown, made())
        is_on_its_way = True
        return turn, tuple(admission.headers) if admission is not None else ()
    finally:
        if limits is not None and admission is not None and not is_on_its_way:
            await limits.leave(admission, 0)


class _OnItsWay:
    """As administrators see it, and a server that stops."""

    def __init__(self, connection: HTTPConnection, answer: Answer) -> None:
        self.asked = asked_by(connection)
        self._answer = answer

    def shown(self) -> Shown:
        job = self._answer.job
        return Shown(job.model, True, job.prompt_tokens or None, self._answer.completion_tokens)

    def cut(self, error: KodifyError) -> None:
        self._answer.cut(error)


async def _grounded(
    connection: HTTPConnection, engine: Engine, kept: dict[str, Any], turn: Turn
) -> tuple[list[PromptMessage], list[dict[str, Any]]]:
    """What was said, with what was found for the question before it; and the sources, with the texts that the model
    is given."""
    found = await find(connection, msgspec.convert(kept["retrieval"], Retrieval), turn.question)
    system = [one["content"] for one in system_of(kept)]  # what was said before makes room
    told, taken = await put_before(connection, engine, turn.question, found, system, kept.get("max_tokens"))
    said = turn.said
    last = said[-1]["content"]
    said[-1] = {**said[-1], "content": last[: len(last) - len(turn.question)] + told}
    return said, clean([{**passage.source(), "text": passage.text} for passage in taken])


async def _job(
    engine: Engine, kept: dict[str, Any], said: list[PromptMessage], doing: tuple[Action, Subject] | None
) -> Job:
    """An action has a prompt of its own, without what was said before."""
    model, job_id = kept.get("model") or engine.facts.names[0], f"chatcmpl-{new_id()}"
    if doing is None:
        return await make_job(engine, model, kept, said, job_id)
    own = {name: kept[name] for name in SAMPLING[:2] if kept.get(name) is not None}
    body = {"model": model, "stream": True, **own}
    return await actions.make_job(engine, *doing, body, job_id, kept.get("max_tokens"))


def _doing(known: Actions, kept: dict[str, Any] | None) -> tuple[Action, Subject] | None:
    """Raises NotFoundError, BadRequestError."""
    if kept is None:
        return None
    wanted = msgspec.convert(kept, WantedAction)
    lines = wanted.selection
    selection = None if lines is None else (lines.start_line, lines.end_line)
    subject = Subject(wanted.code, wanted.language, wanted.path, selection, wanted.instructions or "")
    return known.find(wanted.name), subject


def _conclusion(action: Action, subject: Subject) -> Callable[[str, str | None], dict[str, Any]]:
    def conclude(text: str, finish_reason: str | None) -> dict[str, Any]:
        return actions.conclude(action, subject, text, finish_reason).fields()

    return conclude


def _shown(wanted: WantedAction) -> str:
    """What a chat shows of an action that comes without a message."""
    fence = "`" * (3 + max((len(run) for run in wanted.code.split("\n") if set(run) == {"`"}), default=0))
    head = f"{wanted.name}: {wanted.path}" if wanted.path else wanted.name
    parts = [head, wanted.instructions or "", f"{fence}{wanted.language or ''}\n{wanted.code.rstrip()}\n{fence}"]
    return "\n\n".join(part for part in parts if part.strip())


def clean(value: Any) -> Any:
    """Without NUL, which PostgreSQL does not take."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {name: clean(one) for name, one in value.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    return value
