"""Pieces of the repository that an editor's completion names, from its collection, beside those that the editor sends.

Found by words alone, which needs no model and takes milliseconds; for lines that are whole, so that a keystroke changes
nothing of the prompt but its end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from starlette.requests import Request

from kodify.api.collections import library_of, may
from kodify.errors import KodifyError
from kodify.preprocess.hole import Hole, Snippet
from kodify.retrieval.checkouts import repository_name

log = logging.getLogger(__name__)

TIMEOUT_S = 0.15  # a completion does not wait for longer
PAUSE_S = 10.0  # after a search that took longer or failed: it may still hold a connection to the collections
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
    library = library_of(request)
    if time.monotonic() < library.snippets_from:
        return hole
    try:
        async with asyncio.timeout(TIMEOUT_S):
            collections = [one for one in await library.of_repository(name) if may(request, one)]
            found = await library.search(collections, asked, k=MOST + 2, threshold=0, by="words")
    except (TimeoutError, KodifyError) as error:
        library.snippets_from = time.monotonic() + PAUSE_S
        told = error.message if isinstance(error, KodifyError) else f"it took more than {TIMEOUT_S:g} s to find"
        log.warning("completions go without their repository for %g s: %s", PAUSE_S, told)
        return hole
    pieces = [Snippet(one.path, one.text) for one in found if one.path != hole.path][:MOST]
    return replace(hole, context=(*hole.context, *pieces))


def _question(prefix: str) -> str:
    lines = prefix[-16_384:].split("\n")[:-1]
    kept = lines[: len(lines) // STEP * STEP or len(lines)]
    return "\n".join(kept[-LINES:]).strip()
