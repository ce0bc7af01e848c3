"""Any text in any pieces: a stream says what the whole answer says, in events that nothing in the text can break."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kodify.api.chat_answer import ChatStream, ChatWhole
from kodify.api.completion_answer import CompletionStream, CompletionWhole, Wishes
from kodify.api.infill import InfillStream, InfillWhole
from kodify.api.outlet import Headers
from kodify.api.served import framed
from kodify.api.streaming import Encoder
from kodify.engine.base import Delta, Event, Job, Prompt, ToolCallDelta
from kodify.engine.upstream_answer import Events
from tests.fuzz.answers import frames

PROPERTY = settings(derandomize=True, deadline=None, max_examples=200)
ODD = st.sampled_from(["\n", "\r", "\n\n", "\r\n\r\n", "data: ", "\u2028", "\u2029", "\x85", "\0", '"', "\\", "\\n",
                       "🙂", "𐍈", "[DONE]", "\ufeff", "</script>", "event: error\n", "\x1f", "\ue000"])  # fmt: skip
TEXT = st.lists(st.one_of(ODD, st.text(max_size=6)), max_size=8).map("".join)
PIECES = st.lists(TEXT, min_size=1, max_size=6)
JOB = Job('id-"\u2028', 'a "model"', (Prompt([1, 2], "p"),))


class Paper:
    """An outlet that keeps what is written."""

    def __init__(self) -> None:
        self.data = b""
        self.opened = self.closed = False

    def open(self, status: int, headers: Headers) -> None:
        self.opened = True

    def write(self, data: bytes, *, last: bool = False) -> None:
        assert not self.closed
        self.data, self.closed = self.data + data, last

    def answer(self, data: bytes, status: int = 200, headers: Headers | None = None) -> None:
        self.write(data, last=True)


def said(encoder: Encoder, deltas: list[Delta]) -> bytes:
    paper: Any = Paper()
    encoder.attach(paper)
    for delta in deltas:
        encoder.emit(delta)
    assert paper.closed
    assert encoder.finished
    return bytes(paper.data)


def spoken(pieces: list[str], *, streamed: bool) -> list[Delta]:
    """As an engine tells it: a whole answer as one delta."""
    if not streamed:
        return [Delta(0, "".join(pieces), (1,) * len(pieces), "stop")]
    return [Delta(0, text, (1,), "stop" if at == len(pieces) - 1 else None) for at, text in enumerate(pieces)]


def describe(text: str, counted: Any) -> dict[str, Any]:
    return {"content": text, "stop": True}


WAYS: dict[str, tuple[Callable[[], Encoder], Callable[[], Encoder], Callable[[Any], str], Callable[[Any], str]]] = {
    "chat": (
        lambda: ChatStream(JOB, include_usage=True),
        lambda: ChatWhole(JOB),
        lambda event: "".join(choice["delta"].get("content", "") for choice in event["choices"]),
        lambda whole: str(whole["choices"][0]["message"]["content"]),
    ),
    "completion": (
        lambda: CompletionStream(JOB, Wishes(keep=1, include_usage=True)),
        lambda: CompletionWhole(JOB, Wishes(keep=1)),
        lambda event: "".join(choice["text"] for choice in event["choices"]),
        lambda whole: str(whole["choices"][0]["text"]),
    ),
    "infill": (
        lambda: InfillStream(JOB, describe, silent=False),
        lambda: InfillWhole(JOB, describe, silent=False),
        lambda event: str(event["content"]),
        lambda whole: str(whole["content"]),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@PROPERTY
@given(pieces=PIECES)
def test_a_stream_says_what_the_whole_answer_says(way: str, pieces: list[str]) -> None:
    stream, whole, text_of_event, text_of_whole = WAYS[way]
    told = [data for _, data in frames(said(stream(), spoken(pieces, streamed=True)))]
    if way != "infill":
        assert told.pop() == b"[DONE]"
    text = "".join(text_of_event(json.loads(data)) for data in told)
    assert text == "".join(pieces)
    assert text_of_whole(json.loads(said(whole(), spoken(pieces, streamed=False)))) == text


@pytest.mark.parametrize("way", ["chat", "completion"])
@PROPERTY
@given(pieces=PIECES)
def test_a_streams_entry_in_the_journal_is_the_whole_answer(way: str, pieces: list[str]) -> None:
    """Put together from its pieces, the short way and the long one."""
    encoder = WAYS[way][0]()
    encoder.said = [[]]
    said(encoder, spoken(pieces, streamed=True))
    last = Delta(0, "".join(pieces), (), "stop")
    assert json.loads(encoder.plainly_assembled("".join(pieces), last)) == json.loads(encoder.assembled([last]))


@PROPERTY
@given(texts=PIECES, reasoning=PIECES, arguments=PIECES)
def test_tool_calls_and_reasoning_in_pieces(texts: list[str], reasoning: list[str], arguments: list[str]) -> None:
    deltas = [
        *(Delta(0, "", (1,), reasoning=piece) for piece in reasoning),
        *(Delta(0, text, (1,)) for text in texts),
        Delta(0, "", (1,), tool_calls=(ToolCallDelta(0, "call_1", "f", ""),)),
        *(Delta(0, "", (1,), tool_calls=(ToolCallDelta(0, arguments=piece),)) for piece in arguments),
        Delta(0, "", (), "tool_calls"),
    ]
    events = [json.loads(data) for _, data in list(frames(said(ChatStream(JOB, include_usage=False), deltas)))[:-1]]
    shown = [event["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("reasoning_content", "") for delta in shown) == "".join(reasoning)
    assert "".join(delta.get("content", "") for delta in shown) == "".join(texts)
    calls = [call for delta in shown for call in delta.get("tool_calls", ())]
    assert "".join(call["function"].get("arguments", "") for call in calls) == "".join(arguments)
    assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["f"]


@PROPERTY
@given(name=st.sampled_from(["message_start", "response.output_text.delta", "error"]), text=TEXT)
def test_a_dialects_event(name: str, text: str) -> None:
    data = json.dumps({"text": text}, ensure_ascii=False).encode()
    assert list(frames(framed(Event(name, data)))) == [(name, data)]


LINES = st.sampled_from(
    [b"data: ", b"data:", b"event: x\n", b": ping\n", b"\n", b"\r\n", b"id: 1\n", b"{}", b"[DONE]", b" "]
)
STREAM = st.one_of(st.lists(LINES, max_size=30).map(b"".join), st.binary(max_size=60))


@PROPERTY
@given(STREAM, st.lists(st.integers(0, 60), max_size=12))
def test_an_upstreams_events_however_they_are_cut(stream: bytes, cuts: list[int]) -> None:
    whole = list(Events().feed(stream))
    events, pieces = Events(), [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    told = [data for start, end in pairwise(pieces) for data in events.feed(stream[start:end])]
    assert told == whole
    single = Events()
    assert [data for at in range(len(stream)) for data in single.feed(stream[at : at + 1])] == whole


@PROPERTY
@given(texts=PIECES)
def test_an_upstream_hears_what_a_kodify_says(texts: list[str]) -> None:
    stream = said(ChatStream(JOB, include_usage=False), spoken(texts, streamed=True))
    *told, done = Events().feed(stream)
    assert done == b"[DONE]"
    shown = "".join(json.loads(data)["choices"][0]["delta"].get("content", "") for data in told)
    assert shown == "".join(texts)
