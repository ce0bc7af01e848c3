"""`GET /` and `GET /admin`, and what these pages are made of: `GET /static/…`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kodify.api import browser
from kodify.errors import NotFoundError
from kodify.web import Asset, Pages, Reader, choose_language
from kodify.web.pages import THEMES

# Cookies that the pages' scripts set.
LANGUAGE, THEME = "kodify_language", "kodify_theme"

FOR_EVER = "public, max-age=31536000, immutable"
ASK_FIRST = "no-cache"


async def chat(request: Request) -> Response:
    return show(request, "chat")


async def admin(request: Request) -> Response:
    """The page for everybody, its data for administrators."""
    return show(request, "admin")


async def static(request: Request) -> Response:
    """A file of this version is kept for ever; a page of another version gets what there is now."""
    pages = _pages(request)
    asset = pages.asset(request.path_params["path"])
    if asset is None:
        raise NotFoundError()
    is_current = request.path_params["version"] == pages.version
    headers = {
        "etag": asset.etag,
        "cache-control": FOR_EVER if is_current else ASK_FIRST,
        "vary": "accept-encoding",
        "cross-origin-resource-policy": "same-origin",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return _answer(request, asset, headers)


def show(request: Request, name: str) -> Response:
    """The page `name`, in the reader's language."""
    language = choose_language(request.cookies.get(LANGUAGE), request.headers.get("accept-language", ""))
    theme = request.cookies.get(THEME)
    made = _pages(request).page(name, Reader(language, theme if theme in THEMES else None))
    vary = "accept-encoding, accept-language, cookie"
    return _answer(request, made, browser.PAGE_HEADERS | {"content-language": language, "vary": vary})


def _answer(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    headers = headers | {"content-type": asset.media_type}
    if asset.packed is not None and _takes_gzip(request):
        return Response(asset.packed, headers=headers | {"content-encoding": "gzip"})
    return Response(asset.body, headers=headers)


def _pages(request: Request) -> Pages:
    """Raises NotFoundError where PAGE is off."""
    pages: Pages | None = request.app.state.pages
    if pages is None:
        raise NotFoundError()
    return pages


def _takes_gzip(request: Request) -> bool:
    for each in request.headers.get("accept-encoding", "").split(","):
        name, _, options = each.strip().partition(";")
        if name.strip().lower() == "gzip":
            return options.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
