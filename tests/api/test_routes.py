"""Rules about all routes."""

from __future__ import annotations

from starlette.routing import Route, WebSocketRoute

from kodify.app import ROUTES

PUBLIC = {
    "/health",
    "/ready",
    "/metrics",
    "/token",
    "/openapi.json",
    "/docs",
    "/",
    "/admin",
    "/static/{version}/{path:path}",
}
PUBLIC |= {"/session", "/session/sign-on", "/session/sign-on/callback"}


def test_every_route_names_a_scope_or_is_listed_public() -> None:
    for route in ROUTES:
        assert isinstance(route, Route | WebSocketRoute)
        scope = getattr(route.endpoint, "scope", None)
        assert scope is not None, f"{route.path} is not guarded"
        assert (scope == "public") == (route.path in PUBLIC), route.path
