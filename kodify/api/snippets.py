"""Pieces of the repository that an editor's completion names, from its collection, beside those that the editor sends.

Found by words alone, which needs no model and takes milliseconds; for lines that are whole, so that a keystroke changes
nothing of the prompt but its end.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from starlette.requests import Request

from kodify.api.collections import library_of, may
from kodify.errors import KodifyError
from kodify.preprocess.hole import Hole, Snippet
from kodify.retrieval.walking import repository_name

log = logging.getLogger(__name__)

TIMEOUT_S = 0.15  # a completion does not wait for longer
MOST = 6
LINES, STEP = 48, 8  # before the cursor; they move by so many


async def with_repository(request: Request, hole: Hole) -> Hole:
    """The same hole where there is no such collection, or the user may not search it."""
    entry = request.app.state.settings.file.retrieval
    name = repository_name(hole.repository)
    if name is None or not entry.snippets:
        return hole
    asked = _question(hole.prefix)
    if not asked:
        return hole
    try:
        async with asyncio.timeout(TIMEOUT_S):
            library = library_of(request)
            collection = await library.of_repository(name)
            if collection is None or not may(request, collection):
                return hole
            found = await library.search([collection], asked, k=MOST + 2, threshold=0, by="words")
    except TimeoutError:
        return hole
    except KodifyError as error:
        log.warning("a completion goes without its repository: %s", error.message)
        return hole
    pieces = [Snippet(one.path, one.text) for one in found if one.path != hole.path][:MOST]
    return replace(hole, context=(*hole.context, *pieces))


def _question(prefix: str) -> str:
    lines = prefix[-16_384:].split("\n")[:-1]
    kept = lines[: len(lines) // STEP * STEP or len(lines)]
    return "\n".join(kept[-LINES:]).strip()
