"""What each route is for, what it takes and what it answers; the OpenAPI document is made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from pydantic import BaseModel

from kodify.api import users
from kodify.journal.acceptance import Event
from kodify.protocol import admin
from kodify.protocol.actions import ActionRequest
from kodify.protocol.adapters import LoadAdapter, UnloadAdapter
from kodify.protocol.chats import ChatMessage, MarkdownText, NewChat
from kodify.protocol.embeddings import EmbeddingRequest
from kodify.protocol.infill import InfillRequest
from kodify.protocol.pages import SignIn
from kodify.protocol.retrieval import Checkout, NewCollection, ProcessMessage, SearchRequest
from kodify.protocol.tabby import CompletionRequest

JSON, TEXT, HTML, STREAM = "application/json", "text/plain", "text/html", "text/event-stream"


@dataclass(frozen=True, slots=True)
class Operation:
    """`bodies` are kinds of JSON bodies, any of them: the engine's or HOUSE's. `answers` is the media type of what is
    answered, None for nothing; `fields` are always in it. `errors`: those that the route's kind does not tell."""

    summary: str
    group: str
    bodies: tuple[str, ...] = ()
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answers: str | None = JSON
    fields: tuple[str, ...] = ()
    streams: bool = False
    status: int = 200
    errors: tuple[int, ...] = ()
    raw: bool = False  # the body is a file as it is


class Rendered(BaseModel):
    render: str | None = None


class SelectKind(BaseModel):
    select_kind: str | None = None


class OfCommit(BaseModel):
    commit: str | None = None
    repository: str | None = None
    origin: str | None = None
    source: str | None = None


class SignOn(BaseModel):
    next: str = "/"


class SignedOn(BaseModel):
    code: str | None = None
    state: str | None = None


# Kinds of bodies that the house reads itself: the shape, and what begins its name and its parts' names.
HOUSE: dict[str, tuple[type[msgspec.Struct], str]] = {
    "tabby": (CompletionRequest, "Tabby"),
    "infill": (InfillRequest, ""),
    "embeddings": (EmbeddingRequest, ""),
    "action": (ActionRequest, "Action"),
    "new_chat": (NewChat, ""),
    "chat_message": (ChatMessage, "Chat"),
    "markdown": (MarkdownText, ""),
    "event": (Event, "Completion"),
    "collection": (NewCollection, ""),
    "checkout": (Checkout, ""),
    "search": (SearchRequest, ""),
    "process_message": (ProcessMessage, ""),
    "sign_in": (SignIn, ""),
    "load_adapter": (LoadAdapter, ""),
    "unload_adapter": (UnloadAdapter, ""),
    "new_user": (admin.NewUser, ""),
    "user_change": (admin.UserChange, ""),
    "new_token": (admin.NewToken, ""),
}

_CHAT, _EDITORS, _MODELS, _USERS, _SERVER = "Generation", "Editors", "Models", "Users", "Server"
_PAGES = "Pages"
_ADMIN = "Administration"
_PAGES, _CHATS = "Pages", "Chats"
_CHAT_FIELDS = ("chat_id", "title", "created_at", "updated_at", "expires_at", "running")
_COMPLETION = ("id", "object", "created", "model", "choices", "usage")
_SESSION = ("signed_in", "name", "administrator", "methods", "version")
_DOCUMENTS = "Documents"
_COLLECTION = ("name", "title", "model", "repository", "commit", "pieces", "searchable")
_USER = ("token", "email", "expiration_date", "disabled", "privileged")


def _chat(summary: str) -> Operation:
    return Operation(summary, _CHAT, ("chat",), fields=_COMPLETION, streams=True, errors=(404,))


def _listing(summary: str, form: type[BaseModel] | None = None) -> Operation:
    return Operation(summary, _USERS, form=form, answers=TEXT, errors=(404, 409))


_PAGE = ("data", "next")
_FIGURES = ("since", "until", "by", "total", "data", "left_off")
_LISTED = ("id", "email", "expiration_date", "disabled", "privileged", "created_at", "token")
_HEALTH = Operation("Tabby's health: the models and the version that clients look for.", _EDITORS, fields=("version",))

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): _chat("A chat's next message, in OpenAI's dialect."),
    ("POST", "/v1beta/chat/completions"): _chat("The same, where Tabby's clients look for it."),
    ("POST", "/v1/completions"): Operation(
        "A text goes on (OpenAI's dialect), or a hole in a file is filled (Tabby's).",
        _CHAT,
        ("completion", "tabby"),
        fields=("id", "choices"),
        streams=True,
        errors=(404,),
    ),
    ("POST", "/v1/messages"): Operation(
        "A chat's next message, in Anthropic's dialect.", _CHAT, ("messages",), streams=True, errors=(404,)
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        "How many tokens a body of /v1/messages has.",
        _CHAT,
        ("count_tokens",),
        fields=("input_tokens",),
        errors=(404,),
    ),
    ("POST", "/v1/responses"): Operation(
        "A response in OpenAI's newer dialect; nothing of it is stored.",
        _CHAT,
        ("responses",),
        streams=True,
        errors=(404,),
    ),
    ("GET", "/v1/actions"): Operation("What can be done to code.", _CHAT, fields=("object", "data")),
    ("POST", "/v1/actions/{name}"): Operation(
        "Code is documented, fixed, tested, explained, reviewed; a diff gets its commit message.",
        _CHAT,
        ("action",),
        fields=("id", "object", "created", "model", "action", "text", "finish_reason", "usage"),
        streams=True,
        errors=(404,),
    ),
    ("POST", "/v1/embeddings"): Operation(
        "Vectors of texts.", _CHAT, ("embeddings",), fields=("object", "data", "model", "usage"), errors=(404,)
    ),
    ("POST", "/tokenize"): Operation(
        "A text or a chat into the model's tokens.", _MODELS, ("tokenize",), fields=("tokens",), errors=(404,)
    ),
    ("POST", "/detokenize"): Operation(
        "Tokens back into text.", _MODELS, ("detokenize",), fields=("prompt",), errors=(404,)
    ),
    ("GET", "/v1/models"): Operation("The models that are served.", _MODELS, fields=("object", "data")),
    ("POST", "/v1/load_lora_adapter"): Operation(
        "Serve a LoRA adapter of a model.", _MODELS, ("load_adapter",), fields=("id", "object"), errors=(404, 409)
    ),
    ("POST", "/v1/unload_lora_adapter"): Operation(
        "Serve a LoRA adapter no longer.", _MODELS, ("unload_adapter",), fields=("id", "deleted"), errors=(404, 409)
    ),
    ("POST", "/infill"): Operation(
        "A hole in a file is filled, in llama.cpp's dialect.", _EDITORS, ("infill",), streams=True
    ),
    ("GET", "/props"): Operation(
        "The model's context, as llama.cpp's plugins ask for it.",
        _EDITORS,
        fields=("default_generation_settings",),
    ),
    ("GET", "/v1/health"): _HEALTH,
    ("POST", "/v1/health"): _HEALTH,
    ("POST", "/v1/events"): Operation(
        "An editor tells what became of a completion.", _EDITORS, ("event",), query=SelectKind, answers=None
    ),
    ("GET", "/v1beta/models"): Operation(
        "The models that Tabby's clients may use.", _EDITORS, fields=("completion", "chat")
    ),
    ("GET", "/v1beta/server_setting"): Operation(
        "Tells editors to report to nobody outside.", _EDITORS, fields=("disable_client_side_telemetry",)
    ),
    ("POST", "/token"): Operation(
        "Log in: a new token.",
        _USERS,
        form=users.Login,
        fields=("access_token", "token_type"),
        errors=(401, 404, 429),
    ),
    ("GET", "/session"): Operation("Who is signed in to the pages, and how one can sign in.", _PAGES, fields=_SESSION),
    ("POST", "/session"): Operation(
        "Sign in to the pages: a cookie.", _PAGES, ("sign_in",), fields=_SESSION, errors=(401, 403, 404, 429)
    ),
    ("DELETE", "/session"): Operation("Sign out of the pages.", _PAGES, answers=None, status=204),
    ("GET", "/session/sign-on"): Operation(
        "On to the provider of single sign-on.", _PAGES, query=SignOn, answers=None, status=303, errors=(404,)
    ),
    ("GET", "/session/sign-on/callback"): Operation(
        "Back from the provider of single sign-on.", _PAGES, query=SignedOn, answers=None, status=303, errors=(404,)
    ),
    ("GET", "/users/me"): Operation("Who the token belongs to.", _USERS, fields=_USER, errors=(404,)),
    ("GET", "/users/me/tokens"): Operation("One's own tokens.", _USERS, fields=("data",), errors=(404,)),
    ("DELETE", "/users/me/tokens/{id}"): Operation(
        "Revoke one of one's own tokens.", _USERS, answers=None, status=204, errors=(404,)
    ),
    ("GET", "/get_user_info"): Operation(
        "A user, by e-mail.", _USERS, query=users.ByEmail, fields=_USER, errors=(404, 422)
    ),
    ("POST", "/create_user"): Operation(
        "A new user, with a first token.", _USERS, form=users.NewUser, fields=_USER, errors=(404, 409)
    ),
    ("POST", "/disable_by_email"): _listing("Disable a user.", users.ByEmail),
    ("POST", "/disable_by_token"): _listing("Disable the user of a token.", users.ByToken),
    ("POST", "/disable_all_expired"): _listing("Disable every user whose last day has gone."),
    ("POST", "/delete_by_email"): _listing("Delete a user.", users.ByEmail),
    ("POST", "/delete_by_token"): _listing("Delete the user of a token.", users.ByToken),
    ("POST", "/delete_all_disabled"): _listing("Delete every disabled user."),
    ("GET", "/api/v1/admin/users"): Operation(
        "Users, by a part of the e-mail.", _ADMIN, query=admin.UsersQuery, fields=(*_PAGE, "total"), errors=(422,)
    ),
    ("POST", "/api/v1/admin/users"): Operation(
        "A new user, with a first token.", _ADMIN, ("new_user",), fields=_LISTED, status=201, errors=(409, 422)
    ),
    ("PATCH", "/api/v1/admin/users/{id}"): Operation(
        "Disable a user, or let them in again.", _ADMIN, ("user_change",), fields=_LISTED, errors=(404, 409, 422)
    ),
    ("DELETE", "/api/v1/admin/users/{id}"): Operation(
        "Delete a user, with all tokens.", _ADMIN, answers=None, status=204, errors=(404, 409)
    ),
    ("GET", "/api/v1/admin/users/{id}/tokens"): Operation("A user's tokens.", _ADMIN, fields=("data",), errors=(404,)),
    ("POST", "/api/v1/admin/users/{id}/tokens"): Operation(
        "Another token of a user's, shown this once.",
        _ADMIN,
        ("new_token",),
        fields=("id", "token", "expires_at"),
        status=201,
        errors=(404, 422),
    ),
    ("DELETE", "/api/v1/admin/users/{id}/tokens/{token_id}"): Operation(
        "Revoke a user's token.", _ADMIN, answers=None, status=204, errors=(404,)
    ),
    ("GET", "/api/v1/admin/audit"): Operation(
        "What administrators did.", _ADMIN, query=admin.AuditQuery, fields=_PAGE, errors=(422,)
    ),
    ("GET", "/api/v1/admin/usage"): Operation(
        "Requests, errors, tokens and times.", _ADMIN, query=admin.UsageQuery, fields=_FIGURES, errors=(404, 422)
    ),
    ("GET", "/api/v1/admin/acceptance"): Operation(
        "What became of completions.", _ADMIN, query=admin.AcceptanceQuery, fields=_FIGURES, errors=(404, 422)
    ),
    ("GET", "/api/v1/admin/journal"): Operation(
        "The journal's entries, without contents.", _ADMIN, query=admin.JournalQuery, fields=_PAGE, errors=(404, 422)
    ),
    ("GET", "/api/v1/admin/journal/{id}"): Operation(
        "An entry with what was asked and answered; that it was read is in the audit.",
        _ADMIN,
        fields=("id", "request", "response", "config"),
        errors=(404,),
    ),
    ("GET", "/api/v1/admin/running"): Operation(
        "Requests that this replica is answering.", _ADMIN, fields=("replica", "data")
    ),
    ("DELETE", "/api/v1/admin/running/{id}"): Operation(
        "End one of them.", _ADMIN, answers=None, status=204, errors=(404,)
    ),
    ("GET", "/api/v1/admin/settings"): Operation(
        "The settings in effect, secrets masked.", _ADMIN, fields=("version", "data", "config.yml")
    ),
    ("GET", "/api/v1/admin/engines"): Operation("The engines, and how they are.", _ADMIN, fields=("data",)),
    ("POST", "/process_message"): Operation(
        "A course's question, answered from its collections.",
        _DOCUMENTS,
        ("process_message",),
        answers=TEXT,
        errors=(404, 409),
    ),
    ("GET", "/api/v1/collections"): Operation("The collections that one may search.", _DOCUMENTS, fields=("data",)),
    ("POST", "/api/v1/collections"): Operation(
        "A new collection, for the model that embeds.",
        _DOCUMENTS,
        ("collection",),
        fields=_COLLECTION,
        errors=(404, 409),
    ),
    ("GET", "/api/v1/collections/{name}"): Operation(
        "What a collection has, and what is on its way.",
        _DOCUMENTS,
        fields=(*_COLLECTION, "documents", "skipped", "stale", "running"),
        errors=(404,),
    ),
    ("PATCH", "/api/v1/collections/{name}"): Operation(
        "Which repository and commit it has been filled from.",
        _DOCUMENTS,
        ("checkout",),
        answers=None,
        status=204,
        errors=(404,),
    ),
    ("DELETE", "/api/v1/collections/{name}"): Operation(
        "Delete a collection with all that is in it.", _DOCUMENTS, answers=None, status=204, errors=(404,)
    ),
    ("POST", "/api/v1/collections/{name}/search"): Operation(
        "Passages that answer a question.", _DOCUMENTS, ("search",), fields=("data",), errors=(404, 409)
    ),
    ("GET", "/api/v1/collections/{name}/documents"): Operation(
        "The documents that a collection has, with their digests: none where one has to be put again.",
        _DOCUMENTS,
        fields=("data",),
        errors=(404,),
    ),
    ("PUT", "/api/v1/collections/{name}/documents/{path}"): Operation(
        "Put a document, in place of what there was of it.",
        _DOCUMENTS,
        query=OfCommit,
        raw=True,
        fields=("path", "pieces", "skipped"),
        errors=(400, 404, 409, 413),
    ),
    ("DELETE", "/api/v1/collections/{name}/documents/{path}"): Operation(
        "Remove a document.", _DOCUMENTS, answers=None, status=204, errors=(400, 404)
    ),
    ("POST", "/api/v1/chat"): Operation(
        "A new chat, kept until CHAT_HOURS after its last message.",
        _CHATS,
        ("new_chat",),
        fields=("chat_id",),
        errors=(409,),
    ),
    ("GET", "/api/v1/chats"): Operation("One's own chats, the latest first.", _CHATS, fields=("data",)),
    ("PATCH", "/api/v1/chat/{chat_id}"): Operation(
        "Change a chat's title or settings.", _CHATS, ("new_chat",), fields=_CHAT_FIELDS, errors=(404,)
    ),
    ("DELETE", "/api/v1/chat/{chat_id}"): Operation(
        "Delete a chat, with all that was said in it.", _CHATS, answers=None, status=204, errors=(404,)
    ),
    ("GET", "/api/v1/chat/{chat_id}/history"): Operation(
        "All that was said in a chat; answers also as HTML with render=html.",
        _CHATS,
        query=Rendered,
        fields=(*_CHAT_FIELDS[:5], "settings", "messages"),
        errors=(404,),
    ),
    ("POST", "/api/v1/chat/{chat_id}/send_message"): Operation(
        "Say something; the answer comes by the chat's socket, or in its history.",
        _CHATS,
        ("chat_message",),
        fields=("message_id", "answer_id"),
        status=202,
        errors=(404, 409, 429),
    ),
    ("POST", "/api/v1/chat/{chat_id}/stop"): Operation(
        "End the answer that is being made.", _CHATS, fields=("stopping",), status=202, errors=(404,)
    ),
    ("POST", "/api/v1/render"): Operation(
        "Markdown as HTML that is safe to show.", _CHATS, ("markdown",), fields=("html",)
    ),
    ("GET", "/health"): Operation("200 where every engine can work.", _SERVER, fields=("status", "version")),
    ("GET", "/ready"): Operation(
        "Whether this replica should get requests.", _SERVER, fields=("status", "models", "device", "running")
    ),
    ("GET", "/metrics"): Operation("Metrics for Prometheus.", _SERVER, answers=TEXT),
    ("GET", "/openapi.json"): Operation("This document.", _SERVER, fields=("openapi", "paths"), errors=(404,)),
    ("GET", "/docs"): Operation("This document, to be read.", _SERVER, answers=HTML, errors=(404,)),
    ("GET", "/"): Operation("The chat page.", _SERVER, answers=HTML, errors=(404,)),
    ("GET", "/admin"): Operation("The administrators' page.", _SERVER, answers=HTML, errors=(404,)),
    ("GET", "/static/{version}/{path}"): Operation("A file of the pages.", _SERVER, answers="*/*", errors=(404,)),
}


def operation_of(method: str, path: str, handler: Any) -> Operation:
    """The route's row; one that has none is told by the first line of its handler's docstring."""
    found = OPERATIONS.get((method, path))
    if found is not None:
        return found
    return Operation(((handler.__doc__ or path).strip().splitlines() or [path])[0], _SERVER)
