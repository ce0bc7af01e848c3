"""How much of a subject fits the context: the target and room for its answer first, then what stands around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from kodify.actions.action import Action, Messages, Shown
from kodify.actions.subject import Subject
from kodify.errors import BadRequestError

Count = Callable[[str], int]  # a text's tokens

TEMPLATE_TOKENS = 64  # what the model's chat template adds
CHARACTERS_A_TOKEN = 8  # no text has more
AROUND_SHARE, MOST_AROUND = 0.5, 4000  # of what is left, and tokens
BEFORE_SHARE = 2 / 3
DEFAULT_ANSWER, SPARE_ANSWER = 1024, 256
GROWTH = 1.5  # what an answer that gives the code back has more
UNKNOWN_CONTEXT = 32_768  # of an upstream that does not tell


@dataclass(frozen=True, slots=True)
class Fitted:
    """`most_tokens`: what the answer may have, as far as the context goes; `prompt_tokens`: about so many."""

    messages: Messages
    most_tokens: int
    prompt_tokens: int


def fit(action: Action, subject: Subject, count: Count, context_tokens: int, max_tokens: int | None = None) -> Fitted:
    """Raises BadRequestError where the target and its answer have no room. `max_tokens`: the request's own."""
    context = context_tokens or UNKNOWN_CONTEXT
    shown = Shown.all(subject)
    frame = sum(count(message["content"]) for message in action.messages(subject, Shown("", "", ""))) + TEMPLATE_TOKENS
    if max_tokens is not None:
        answer = max_tokens
    else:
        answer = min(action.head.max_tokens or DEFAULT_ANSWER, max(1, context // 4))
    # Counting far more than can fit would only take time.
    is_huge = len(shown.code) > context * CHARACTERS_A_TOKEN
    target = len(shown.code) // CHARACTERS_A_TOKEN if is_huge else count(shown.code)
    most = answer
    if action.makes_diff and max_tokens is None:
        answer = ceil(target * GROWTH) + SPARE_ANSWER
        most = max(action.head.max_tokens or 0, 2 * answer)
    room = context - frame - min(answer, context)
    if target > room:
        if action.head.too_long == "refuse" or room < SPARE_ANSWER:
            raise _no_room(subject, target, context)
        shown = Shown("", _cut(shown.code, room, count), "", is_cut=True)
        return _fitted(action, subject, shown, most, context, count)
    around = min(int((room - target) * AROUND_SHARE), MOST_AROUND)
    first, last = subject.bounds
    before = _nearest(subject.lines[:first][::-1], int(around * BEFORE_SHARE), count)[::-1]
    after = _nearest(subject.lines[last:], int(around * (1 - BEFORE_SHARE)), count)
    return _fitted(action, subject, Shown("".join(before), shown.code, "".join(after)), most, context, count)


def _fitted(action: Action, subject: Subject, shown: Shown, most: int, context: int, count: Count) -> Fitted:
    messages = action.messages(subject, shown)
    prompt = sum(count(message["content"]) for message in messages) + TEMPLATE_TOKENS
    return Fitted(messages, min(most, max(1, context - prompt)), prompt)


def _nearest(lines: list[str], room: int, count: Count) -> list[str]:
    taken = 0
    for position, line in enumerate(lines):
        if len(line) > room * CHARACTERS_A_TOKEN:
            return lines[:position]
        taken += count(line)
        if taken > room:
            return lines[:position]
    return lines


def _cut(code: str, room: int, count: Count) -> str:
    """Whole lines from the start, as many as fit."""
    lines = code[: room * CHARACTERS_A_TOKEN].split("\n")
    kept = _nearest([line + "\n" for line in lines], room - 32, count)
    return "".join(kept[:-1] if len(kept) == len(lines) else kept)


def _no_room(subject: Subject, target: int, context: int) -> BadRequestError:
    what = "The code" if subject.selection is None else "The selection"
    return BadRequestError(
        f"{what} has about {target} tokens: with its answer it does not fit the model's context of {context}. "
        f"Please select {'fewer lines' if subject.selection else 'some lines'}.",
        param="code" if subject.selection is None else "selection",
    )
