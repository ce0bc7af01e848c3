"""The map: every route, every layer, what starts and what stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from kodify import __version__, auth, censor, journal, retrieval
from kodify.actions import Actions
from kodify.api import (
    actions,
    adapters,
    admin_journal,
    admin_server,
    admin_users,
    chat,
    chat_socket,
    chats,
    collections,
    completions,
    docs,
    embeddings,
    errors,
    health,
    infill,
    messages,
    models,
    pages,
    process_message,
    responses,
    session,
    tabby,
    tokenize,
    users,
)
from kodify.api.browser import cors
from kodify.api.guard import guard
from kodify.api.middleware import BODY_SEND, Edge
from kodify.api.outlet import WAITING, Turn
from kodify.autocomplete.desk import Desk
from kodify.chats import build as build_chats
from kodify.connections import Connections
from kodify.engine.base import Engine
from kodify.engines import Engines, Served
from kodify.errors import ConfigError, KodifyError, UnavailableError
from kodify.markdown import Scribe
from kodify.metrics import LineMetrics, Metrics
from kodify.settings import Settings
from kodify.watch import Watch
from kodify.web import Pages

if TYPE_CHECKING:
    from kodify.tracing import Tracing

ROUTES = [
    Route("/v1/chat/completions", guard("user", chat.create, limited=True, journaled=True), methods=["POST"]),
    Route("/v1/completions", guard("user", completions.create, limited=True, journaled=True), methods=["POST"]),
    Route("/v1/embeddings", guard("user", embeddings.create, limited=True, journaled=True), methods=["POST"]),
    Route("/v1/messages", messages.guard(messages.create, journaled=True), methods=["POST"]),
    Route("/v1/messages/count_tokens", messages.guard(messages.count_tokens), methods=["POST"]),
    Route("/v1/responses", guard("user", responses.create, limited=True, journaled=True), methods=["POST"]),
    Route("/v1/actions", guard("user", actions.show), methods=["GET"]),
    Route("/v1/actions/{name}", guard("user", actions.create, limited=True, journaled=True), methods=["POST"]),
    Route("/tokenize", guard("user", tokenize.create, limited=True), methods=["POST"]),
    Route("/detokenize", guard("user", tokenize.revert, limited=True), methods=["POST"]),
    Route("/v1/models", guard("user", models.show, journaled=True), methods=["GET"]),
    Route("/v1/load_lora_adapter", guard("admin", adapters.load), methods=["POST"]),
    Route("/v1/unload_lora_adapter", guard("admin", adapters.unload), methods=["POST"]),
    Route("/infill", guard("user", infill.create, limited=True, journaled=True), methods=["POST"]),
    Route("/props", guard("user", infill.props), methods=["GET"]),
    Route("/v1/health", guard("user", tabby.health), methods=["GET", "POST"]),
    Route("/v1/events", guard("user", tabby.events), methods=["POST"]),
    Route("/v1beta/chat/completions", guard("user", chat.create, limited=True, journaled=True), methods=["POST"]),
    Route("/v1beta/models", guard("user", tabby.models), methods=["GET"]),
    Route("/v1beta/server_setting", guard("user", tabby.server_setting), methods=["GET"]),
    Route("/token", guard("public", users.log_in), methods=["POST"]),
    Route("/users/me", guard("user", users.me), methods=["GET"]),
    Route("/users/me/tokens", guard("user", users.my_tokens), methods=["GET"]),
    Route("/users/me/tokens/{id}", guard("user", users.revoke_my_token), methods=["DELETE"]),
    Route("/get_user_info", guard("admin", users.user_info), methods=["GET"]),
    Route("/create_user", guard("admin", users.create), methods=["POST"]),
    Route("/disable_by_email", guard("admin", users.disable_by_email), methods=["POST"]),
    Route("/disable_by_token", guard("admin", users.disable_by_token), methods=["POST"]),
    Route("/disable_all_expired", guard("admin", users.disable_all_expired), methods=["POST"]),
    Route("/delete_by_email", guard("admin", users.delete_by_email), methods=["POST"]),
    Route("/delete_by_token", guard("admin", users.delete_by_token), methods=["POST"]),
    Route("/delete_all_disabled", guard("admin", users.delete_all_disabled), methods=["POST"]),
    Route("/session", guard("public", session.show), methods=["GET"]),
    Route("/session", guard("public", session.create), methods=["POST"]),
    Route("/session", guard("public", session.end), methods=["DELETE"]),
    Route("/session/sign-on", guard("public", session.sign_on), methods=["GET"]),
    Route("/session/sign-on/callback", guard("public", session.signed_on), methods=["GET"]),
    Route("/api/v1/admin/users", guard("admin", admin_users.index), methods=["GET"]),
    Route("/api/v1/admin/users", guard("admin", admin_users.create), methods=["POST"]),
    Route("/api/v1/admin/users/{id}", guard("admin", admin_users.change), methods=["PATCH"]),
    Route("/api/v1/admin/users/{id}", guard("admin", admin_users.delete), methods=["DELETE"]),
    Route("/api/v1/admin/users/{id}/tokens", guard("admin", admin_users.list_tokens), methods=["GET"]),
    Route("/api/v1/admin/users/{id}/tokens", guard("admin", admin_users.make_token), methods=["POST"]),
    Route("/api/v1/admin/users/{id}/tokens/{token_id}", guard("admin", admin_users.revoke), methods=["DELETE"]),
    Route("/api/v1/admin/audit", guard("admin", admin_users.audit), methods=["GET"]),
    Route("/api/v1/admin/usage", guard("admin", admin_journal.usage), methods=["GET"]),
    Route("/api/v1/admin/acceptance", guard("admin", admin_journal.acceptance), methods=["GET"]),
    Route("/api/v1/admin/journal", guard("admin", admin_journal.index), methods=["GET"]),
    Route("/api/v1/admin/journal/{id}", guard("admin", admin_journal.show), methods=["GET"]),
    Route("/api/v1/admin/running", guard("admin", admin_server.running), methods=["GET"]),
    Route("/api/v1/admin/running/{id}", guard("admin", admin_server.cancel), methods=["DELETE"]),
    Route("/api/v1/admin/settings", guard("admin", admin_server.settings), methods=["GET"]),
    Route("/api/v1/admin/engines", guard("admin", admin_server.engines), methods=["GET"]),
    Route("/api/v1/collections", guard("user", collections.show_all), methods=["GET"]),
    Route("/api/v1/collections", guard("admin", collections.make), methods=["POST"]),
    Route("/api/v1/collections/{name}", guard("admin", collections.show), methods=["GET"]),
    Route("/api/v1/collections/{name}", guard("admin", collections.note), methods=["PATCH"]),
    Route("/api/v1/collections/{name}", guard("admin", collections.drop), methods=["DELETE"]),
    Route(
        "/api/v1/collections/{name}/search",
        guard("user", collections.search, limited=True, journaled=True),
        methods=["POST"],
    ),
    Route("/api/v1/collections/{name}/documents", guard("admin", collections.documents), methods=["GET"]),
    Route("/api/v1/collections/{name}/documents/{path:path}", guard("admin", collections.put), methods=["PUT"]),
    Route("/api/v1/collections/{name}/documents/{path:path}", guard("admin", collections.remove), methods=["DELETE"]),
    Route("/api/v1/chat", guard("user", chats.create), methods=["POST"]),
    Route("/api/v1/chats", guard("user", chats.show_all), methods=["GET"]),
    Route("/api/v1/chat/{chat_id}", guard("user", chats.change), methods=["PATCH"]),
    Route("/api/v1/chat/{chat_id}", guard("user", chats.delete), methods=["DELETE"]),
    Route("/api/v1/chat/{chat_id}/history", guard("user", chats.show), methods=["GET"]),
    Route("/api/v1/chat/{chat_id}/send_message", guard("user", chats.send_message, journaled=True), methods=["POST"]),
    Route("/api/v1/chat/{chat_id}/stop", guard("user", chats.stop), methods=["POST"]),
    WebSocketRoute("/api/v1/chat/{chat_id}/ws", guard("user", chat_socket.follow)),
    Route("/api/v1/render", guard("user", chats.render), methods=["POST"]),
    Route(
        "/process_message",
        guard("user", process_message.create, limited=True, journaled=True),
        methods=["POST"],
    ),
    Route("/health", guard("public", health.health), methods=["GET"]),
    Route("/ready", guard("public", health.ready), methods=["GET"]),
    Route("/metrics", guard("public", health.metrics), methods=["GET"]),
    Route("/openapi.json", guard("public", docs.show_json), methods=["GET"]),
    Route("/docs", guard("public", docs.show), methods=["GET"]),
    Route("/", guard("public", pages.chat), methods=["GET"]),
    Route("/admin", guard("public", pages.admin), methods=["GET"]),
    Route("/static/{version}/{path:path}", guard("public", pages.static), methods=["GET"]),
]


class App(Starlette):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The server's own `send`, for bodies that need none of the layers."""
        scope[BODY_SEND] = send
        try:
            await super().__call__(scope, receive, send)
        finally:
            # They know the scope: together they would wait for the garbage collector, and the body with them.
            del scope[BODY_SEND]
            scope.pop(WAITING, None)


def build_app(
    settings: Settings,
    engine: Engine | Engines,
    on_settled: Callable[[Exception | None], None] | None = None,
    on_loading: Callable[[str], None] = lambda label: None,
    on_broken: Callable[[KodifyError], None] = lambda error: None,
) -> Starlette:
    """`on_settled` is told once: None when requests can come, or why an engine did not start; `on_loading` of each
    model whose turn it is; `on_broken` once of an engine that can't work any more."""
    metrics = Metrics()
    tracing = _tracing(settings)
    engines = engine if isinstance(engine, Engines) else Engines([Served(engine, preset_path=settings.preset_path)])
    watch = Watch(engines, metrics.registry, on_broken, restarts=settings.engine_on_failure == "restart")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        if app.state.journal is not None:
            app.state.journal.open()
        loading = asyncio.create_task(_load(app, on_settled or (lambda error: None), on_loading))
        app.state.loading = loading
        watching: asyncio.Task[None] | None = None

        def begin_to_watch(_: asyncio.Task[None]) -> None:
            nonlocal watching
            if app.state.ready:
                watching = asyncio.create_task(watch.run())

        loading.add_done_callback(begin_to_watch)
        try:
            if settings.wait_vllm:
                await asyncio.wait({loading})
                if not app.state.ready:
                    raise UnavailableError("The engine did not start.")
            yield
        finally:
            app.state.ready = False
            tasks = [task for task in (loading, watching) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await app.state.library.close()
            await app.state.chats.stop()
            app.state.scribe.stop()
            await engines.stop()
            await app.state.auth.stop()
            if app.state.censor is not None:
                await app.state.censor.stop()
            if app.state.journal_access is not None:
                await app.state.journal_access.stop()
            if app.state.journal is not None:
                await app.state.journal.stop()
            if tracing is not None:
                await tracing.stop()

    app = App(
        routes=ROUTES,
        lifespan=lifespan,
        exception_handlers=errors.HANDLERS,
        middleware=[
            *cors(settings.cors_origins),
            Middleware(
                Edge,
                metrics=metrics,
                max_bytes=settings.max_body_bytes,
                tracing=tracing,
                access_log=settings.access_log,
            ),
        ],
    )
    app.router.redirect_slashes = False  # one address a route; another is 404, in the one shape
    app.state.settings = settings
    app.state.engines = engines
    app.state.auth = auth.build(settings, metrics)
    app.state.administration = auth.administration(app.state.auth, settings)
    app.state.logins = auth.LoginLimits()
    app.state.journal = journal.build(settings, metrics)
    app.state.journal_access = journal.build_access(settings)
    app.state.chats = build_chats(settings)
    app.state.scribe = Scribe()
    app.state.metrics = metrics
    app.state.censor = censor.build(settings.file.censor, metrics.registry)
    app.state.library = retrieval.build(settings, engines)
    acceptance = journal.build_acceptance(metrics, app.state.journal)
    app.state.actions = Actions(settings.actions_path)
    app.state.desk = Desk(settings.completion_cache, metrics, acceptance)
    app.state.turn = Turn() if app.state.journal is None else Turn(app.state.journal.settle)
    app.state.connections = Connections(settings, metrics.registry)
    LineMetrics(metrics.registry, lambda: [(served.name, served.line) for served in engines.here])
    sockets = [route.path_regex for route in ROUTES if isinstance(route, WebSocketRoute)]
    app.state.takes_sockets = lambda path: any(regex.match(path) for regex in sockets)
    app.state.running = set()  # answers on their way
    app.state.pages = Pages(__version__) if settings.page else None
    app.state.document = None  # a task, when it has been asked for
    app.state.ready = False
    app.state.draining = False
    metrics.watch_loaded(lambda: app.state.ready and not app.state.draining)
    return app


def _tracing(settings: Settings) -> Tracing | None:
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from kodify.tracing import Tracing  # slow to import

    return Tracing(settings)


async def _load(
    app: Starlette, on_settled: Callable[[Exception | None], None], on_loading: Callable[[str], None]
) -> None:
    """The journal, who may ask, the engines."""
    engines: Engines = app.state.engines
    settings: Settings = app.state.settings
    patience_s = settings.wait_vllm_attempts * settings.wait_vllm_timeout_s if settings.wait_vllm else None
    try:
        async with asyncio.timeout(patience_s):
            if app.state.journal is not None:
                await app.state.journal.start()
            await app.state.auth.start()
            await app.state.chats.start()
            await engines.start(on_loading)
    except TimeoutError as error:
        late = ConfigError(f"The engine was not ready after {patience_s or 0:g} s: raise WAIT_VLLM_ATTEMPTS.")
        on_settled(error if patience_s is None else late)
        return
    except Exception as error:
        on_settled(error)
        return
    app.state.ready = True
    on_settled(None)
