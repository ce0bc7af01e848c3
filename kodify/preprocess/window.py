"""How much of a file, and of the files beside it, a completion's prompt has: a budget in tokens.

A keystroke should change the end of the prompt and nothing else, so that the engine finds the rest in its cache. So
the window on the text before the cursor begins at a line that stays the same for hundreds of keystrokes, the text
after the cursor has a share that does not depend on what was typed, and pieces of other files come first, in an order
of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from kodify.engine.base import Vocabulary
from kodify.preprocess import fim
from kodify.preprocess.hole import Hole, Snippet
from kodify.preprocess.presets import Preset

# What is tokenized at all: rare text has more characters a token, and loses some of its share.
CHARACTERS_A_TOKEN = 8
SUFFIX_STEP = 128  # tokens by which the suffix takes what the prefix leaves
LEAST_STEP = 64  # characters between anchors
CONTEXT_STEP = 256  # tokens by which other files take from both


def prompt_ids(hole: Hole, preset: Preset | None, vocabulary: Vocabulary, budget_tokens: int) -> list[int]:
    """At most `budget_tokens`. Without a preset there is nothing but the text before the cursor."""
    if preset is None:
        start = vocabulary.start_ids
        return [*start, *_before(hole.prefix, budget_tokens - len(start), vocabulary)[0]]
    if preset.max_prompt_tokens is not None:
        budget_tokens = min(budget_tokens, preset.max_prompt_tokens)
    room = budget_tokens - len(fim.render(preset, vocabulary, (), ()))
    blocks = _blocks(hole, preset, vocabulary, int(room * preset.context_share)) if hole.context else []
    if blocks:  # and what a repository's form says beside the files
        used = len(fim.render(preset, vocabulary, (), (), blocks, repository=hole.repository, path=hole.path))
        used -= budget_tokens - room
        if used > room:
            blocks, used = [], 0
        room -= ceil(used / CONTEXT_STEP) * CONTEXT_STEP if room > 4 * CONTEXT_STEP else used
    room = max(0, room)
    share = int(room * preset.suffix_share)
    after = fim.encode_after(vocabulary, hole.suffix[: room * CHARACTERS_A_TOKEN])
    before, whole = _before(hole.prefix, room - min(share, len(after)), vocabulary, preset, first=not blocks)
    left = room - len(before) if whole else share
    if len(after) > left:
        after = after[: max(share, left // SUFFIX_STEP * SUFFIX_STEP)]
    return fim.render(preset, vocabulary, before, after, blocks, repository=hole.repository, path=hole.path)


def characters(hole: Hole, budget_tokens: int) -> int:
    """How much text is tokenized, at most."""
    most = budget_tokens * CHARACTERS_A_TOKEN
    others = sum(len(piece.path) + len(piece.text) for piece in hole.context if len(piece.text) <= most)
    return min(len(hole.prefix), most) + min(len(hole.suffix), most) + others


def _before(
    prefix: str, room: int, vocabulary: Vocabulary, preset: Preset | None = None, *, first: bool = True
) -> tuple[list[int], bool]:
    """All of it (True), or from an anchor on: of the lines that begin behind a multiple of so many characters, the
    first from which on it fits."""

    def encode(text: str) -> list[int]:
        if preset is None:
            return vocabulary.encode_plain(text)
        return fim.encode_before(preset, vocabulary, text, first=first)

    if room <= 0:
        return [], not prefix
    if len(prefix) <= room * CHARACTERS_A_TOKEN:
        ids = encode(prefix)
        if len(ids) <= room:
            return ids, True
    start, used, step = len(prefix), 0, 2 * _step(room)
    while used < room // 2 and step > LEAST_STEP:  # dense text needs anchors that stand closer
        start, used, step = len(prefix), 0, step // 2
        for anchor in _anchors(prefix, step):
            more = len(vocabulary.encode_plain(prefix[anchor:start], continues=True))
            if used + more > room:
                break
            start, used = anchor, used + more
    if start == len(prefix):  # not even the last few words fit
        start = max(0, len(prefix) - room * CHARACTERS_A_TOKEN)
    ids = encode(prefix[start:])
    return ids[max(0, len(ids) - room) :], False


def _step(room: int) -> int:
    """Characters between anchors, about a quarter of what fits: a power of two."""
    return max(LEAST_STEP, 1 << max(0, room.bit_length() - 1))


def _anchors(prefix: str, step: int) -> Iterator[int]:
    """Line starts, the last first, and 0."""
    last = len(prefix)
    for multiple in range(len(prefix) // step * step, 0, -step):
        anchor = prefix.find("\n", multiple - 1, multiple + step // 2) + 1 or multiple
        if anchor < last:
            last = anchor
            yield anchor
    yield 0


def _blocks(hole: Hole, preset: Preset, vocabulary: Vocabulary, room: int) -> list[list[int]]:
    """Of the other files' pieces those that fit, chosen from what matters first, in an order that does not change with
    what is typed."""
    wanted = hole.context[::-1] if hole.stable else hole.context  # a client's own order has its newest last
    chosen: list[tuple[Snippet, list[int]]] = []
    for piece in dict.fromkeys(wanted):
        if room <= 0:
            break
        if len(piece.text) > room * CHARACTERS_A_TOKEN:
            continue
        ids = _block(piece, hole, preset, vocabulary)
        if len(ids) <= room:
            chosen.append((piece, ids))
            room -= len(ids)
    if hole.stable:
        chosen.reverse()
    else:
        chosen.sort(key=lambda found: (found[0].path, found[0].text))
    return [ids for _, ids in chosen]


def _block(piece: Snippet, hole: Hole, preset: Preset, vocabulary: Vocabulary) -> list[int]:
    if preset.repo is not None:
        return fim.encode_file(preset.repo, vocabulary, piece.path, piece.text)
    text = hole.language.comment(f"Path: {piece.path}\n{piece.text}".rstrip("\n"))
    return vocabulary.encode_plain(text + "\n", continues=True)
