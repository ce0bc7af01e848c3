"""What browsers are told: whose web pages may use the API, and what Kodify's own pages may do."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from kodify.api import errors
from kodify.errors import ForbiddenError

ANSWERS_TELL = ("x-request-id", "retry-after")
REMEMBERED_S = 600

# A page takes its scripts and styles from Kodify, stands in nobody's frame and tells nobody where it is from.
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types kodify",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Cors(CORSMiddleware):
    """Starlette's, with the one error shape."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        refusal = errors.response(
            ForbiddenError("Web pages of this origin may not ask so: CORS_ORIGINS says which may.")
        )
        refusal.headers["vary"] = answer.headers["vary"]
        return refusal


def origins(given: str | None) -> list[str]:
    return [origin for part in (given or "").split(",") if (origin := part.strip().rstrip("/"))]


def cors(given: str | None) -> list[Middleware]:
    """No layer at all where no page of another origin may ask. Tokens come in a header, so cookies need not get in."""
    if not (allowed := origins(given)):
        return []
    return [
        Middleware(
            Cors,
            allow_origins=allowed,
            allow_methods=("GET", "POST", "PATCH", "DELETE"),
            allow_headers=("*",),
            expose_headers=ANSWERS_TELL,
            max_age=REMEMBERED_S,
        )
    ]


def page(content: str, status: int = 200) -> Response:
    return Response(content, status, PAGE_HEADERS, "text/html")
