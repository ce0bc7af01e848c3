"""Lines by which a model says that it left code out, or talks where code should be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_COMMENT = re.compile(r"^\s*(?:#|//|/\*|\*|--|<!--|;|%|\{#|\{/\*|'|rem\b|\"\"\")+", re.IGNORECASE)
_MARKS = " \t#/*-<>!;%{}'\"()[]=~_"
_DOTS = ("...", "…")
# A bare `...` may be a line of theirs: whether it stands for code is told by what is gone.
_HAVE_DOTS = ("python", "yaml", "markdown", "restructuredtext", "plaintext")
_THING = (
    r"(?:code|file|functions?|class(?:es)?|methods?|modules?|program|implementation|lines?|content|imports?|logic|body|"
    r"definitions?|script|tests?)"
)
_LEFT_OUT = re.compile(
    r"\b(?:rest|remain\w*|unchanged|existing|same|omitted|previous|original|other|skipped|unmodified|as before|"
    r"continues?|your code)\b|остал\w*|без изменений|прежн\w*|опущен\w*|далее|как (?:было|раньше|прежде)|ваш код",
    re.IGNORECASE,
)
_WITHOUT_DOTS = re.compile(
    rf"""(?:
      (?:the\ )?(?:rest|remainder)\ of\ (?:the\ |this\ |your\ )?(?:\w+\ )?{_THING}
        (?:\ (?:here|(?:remains?|stays?|is|are)\ (?:the\ same|unchanged)|unchanged|as\ before))?
    | (?:the\ )?(?:remaining|existing|previous|original|other|your|more)\ {_THING}
        (?:\ (?:goes|go|here|remains?|stays?|is|are)(?:\ (?:here|unchanged|the\ same|as\ before))?)?
    | (?:{_THING}\ )?(?:is\ |are\ |remains?\ )?(?:unchanged|omitted(?:\ for\ brevity)?)
    | no\ changes?(?:\ (?:here|needed))?
    | same\ as\ (?:before|above|(?:the\ )?original)
    | (?:остальной|прежний|существующий|исходный|ваш)\ код.{{0,40}}
    | (?:остальное|дальше|далее|код)?\ ?без\ изменений
    )\.?""",
    re.IGNORECASE | re.VERBOSE,
)
_PROSE = re.compile(
    r"^(?:here(?:'s| is| are)\b|sure[,.!:]|certainly[,.!]|of course[,.!]|explanation:|changes(?: made)?:|the (?:fixed|"
    r"updated|corrected|documented) (?:code|version)\b|i(?:'ve| have) (?:added|fixed|changed|documented|updated)\b|"
    r"вот\s|конечно[,.!]|исправленн\w+ код|объяснение:|изменения:)",
    re.IGNORECASE,
)


def find_elision(new: Sequence[str], old: Iterable[str], language: str) -> str | None:
    """The first line that stands for code which is not there. Lines that the old code has are its own."""
    known = {line.strip() for line in old}
    for line in new:
        bare = line.strip()
        if bare and bare not in known and _stands_for_code(bare, language):
            return bare
    return None


def find_prose(new: Sequence[str], old: Iterable[str]) -> str | None:
    """A first or last line that talks to the reader."""
    known = {line.strip() for line in old}
    said = [line.strip() for line in new if line.strip()]
    for line in (said[:1] + said[-1:]) if said else ():
        if line not in known and _PROSE.match(line):
            return line
    return None


def _stands_for_code(line: str, language: str) -> bool:
    core = line.strip(_MARKS)
    is_comment = _COMMENT.match(line) is not None
    begins, ends = core.startswith(_DOTS), core.endswith(_DOTS)
    core = core.strip("." + "…" + _MARKS)
    if not core:
        return (begins or ends) and (is_comment or language not in _HAVE_DOTS)
    if begins or (is_comment and ends):
        return _LEFT_OUT.search(core) is not None
    return is_comment and _WITHOUT_DOTS.fullmatch(core) is not None
