"""What comes of a model's answer: the new code and its diff, or the reason why there is none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kodify.actions import diff, fences
from kodify.actions.action import Action
from kodify.actions.elisions import find_elision, find_prose
from kodify.actions.mending import key, mend
from kodify.actions.subject import Subject

# How much of any target may be gone: lines, and the share by which new code may be shorter.
SLACK_LINES, MOST_SHRUNK = 3, 0.7


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code`: all of the subject's code with the target replaced, or the block that was asked for. Never half of it:
    where something is wrong there is a `complaint` and neither code nor diff. `prose`: what the answer says around its
    code."""

    code: str | None = None
    diff: str | None = None
    complaint: str | None = None
    is_unchanged: bool = False
    prose: str = ""

    def fields(self) -> dict[str, Any]:
        """As far as it goes, for the wire."""
        told: dict[str, Any] = {"code": self.code, "diff": self.diff, "complaint": self.complaint}
        if self.is_unchanged:
            told["unchanged"] = True
        return {name: value for name, value in told.items() if value is not None}


class _MalformedError(ValueError):
    """The complaint."""


def conclude(action: Action, subject: Subject, text: str, finish_reason: str | None = "stop") -> Outcome:
    if action.head.answers == "text":
        return Outcome()
    answer = fences.read(text)
    try:
        if action.head.answers == "code":
            block = _only_block(answer, finish_reason)
            _refuse_talk(block, (), subject.known_language.id)
            return Outcome(code="\n".join(block) + "\n", prose=answer.prose)
        return _changed(action, subject, answer, finish_reason)
    except _MalformedError as error:
        return Outcome(complaint=str(error), prose=answer.prose)


def _changed(action: Action, subject: Subject, answer: fences.Answer, finish_reason: str | None) -> Outcome:
    target = subject.target
    block = _only_block(answer, finish_reason)
    _refuse_talk(block, subject.lines, subject.known_language.id)
    new = mend(target, block)
    lines, changes = diff.replaced(subject.lines, subject.bounds, new)
    if not changes:
        return Outcome(code=subject.code, complaint="The model changed nothing.", is_unchanged=True, prose=answer.prose)
    _refuse_loss(target, new, action.head.keeps)
    made = diff.unified(subject.lines, lines, changes, subject.diff_path)
    return Outcome(code="".join(lines), diff=made, prose=answer.prose)


def _only_block(answer: fences.Answer, finish_reason: str | None) -> Sequence[str]:
    if finish_reason == "length":
        raise _MalformedError("The answer was cut at its longest: select fewer lines, or raise max_tokens.")
    if finish_reason not in (None, "stop"):
        raise _MalformedError(f"The answer was ended before its end ({finish_reason}).")
    if not answer.blocks:
        raise _MalformedError("The answer has no block of code.")
    if len(answer.blocks) > 1:
        raise _MalformedError(f"The answer has {len(answer.blocks)} blocks of code, where one was asked for.")
    (block,) = answer.blocks
    if not block.is_closed:
        raise _MalformedError("The answer's block of code has no end.")
    if not any(line.strip() for line in block.lines):
        raise _MalformedError("The answer's block of code is empty.")
    return block.lines


def _refuse_talk(new: Sequence[str], old: Sequence[str], language: str) -> None:
    if (line := find_elision(new, old, language)) is not None:
        raise _MalformedError(f"The answer leaves code out: {_short(line)}")
    if (line := find_prose(new, old)) is not None:
        raise _MalformedError(f"The answer has prose among its code: {_short(line)}")


def _refuse_loss(target: Sequence[str], new: Sequence[str], keeps: float) -> None:
    """Wherever a line stands, and however it is indented, it is still there."""
    old_lines = Counter(bare for line in target if (bare := key(line).strip()))
    new_lines = Counter(bare for line in new if (bare := key(line).strip()))
    lost, all_lines = (old_lines - new_lines).total(), old_lines.total()
    shrunk, dots = all_lines - new_lines.total(), new_lines["..."] - old_lines["..."]
    if (
        lost > max(SLACK_LINES, (1 - keeps) * all_lines)
        or shrunk > max(SLACK_LINES, MOST_SHRUNK * all_lines)
        or (dots > 0 and lost > dots)
    ):
        raise _MalformedError(f"The answer has lost {lost} of {all_lines} lines.")


def _short(line: str) -> str:
    return line if len(line) <= 100 else line[:99] + "…"
