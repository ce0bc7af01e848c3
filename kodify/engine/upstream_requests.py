"""OpenAI request bodies for another server: what the house reads is validated, the rest is handed on as it came."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from kodify.engine.base import Job, Prompt
from kodify.engine.upstream_texts import texts
from kodify.engine.upstream_vocabulary import TextVocabulary
from kodify.errors import BadRequestError

MAX_COMPLAINTS = 5
MAX_INPUT_CHARACTERS = 500


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="allow")

    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class _Request(BaseModel):
    """A field that nobody sets is not sent. Fields of the body that the house must not act on are in `_handed_on`."""

    model_config = ConfigDict(extra="allow")

    model: str
    stream: bool | None = False
    n: int | None = 1
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    stream_options: _StreamOptions | None = None
    use_beam_search: bool | None = None
    _handed_on: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def echo(self) -> bool:
        """The other server's business: it has the prompt's tokens."""
        return False

    def body(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True) | self._handed_on


Request = TypeVar("Request", bound=_Request)


class ChatRequest(_Request):
    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    logprobs: bool | None = False
    top_logprobs: int | None = None


class CompletionRequest(_Request):
    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = None
    suffix: str | None = None


@dataclass(slots=True)
class Plan:
    """What is sent, and what the upstream's usage tells of it at the end."""

    path: str
    body: dict[str, Any]
    streamed: bool  # to the client: to here it always is
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class UpstreamJob(Job):
    plan: Plan = field(kw_only=True, repr=False)

    @property
    def prompt_tokens(self) -> int:
        """What is known before the usage comes: nothing of a text."""
        return self.plan.prompt_tokens or sum(len(prompt.token_ids) for prompt in self.prompts)


def parse_chat(body: dict[str, Any]) -> ChatRequest:
    _require(body, "model", "messages")
    if isinstance(body["messages"], str):  # documented: one message may come as its text
        body = {**body, "messages": [{"role": "user", "content": body["messages"]}]}
    return _validate(ChatRequest, body)


def parse_completion(body: dict[str, Any], *, hands_on_suffix: bool) -> CompletionRequest:
    _require(body, "model", "prompt")
    handed_on: dict[str, Any] = {}
    own = dict(body)
    if own.get("echo"):
        handed_on["echo"] = True
        if own.get("max_tokens") == 0:  # the prompt alone: a range's check without an echo would refuse it
            handed_on["max_tokens"] = own.pop("max_tokens")
    own.pop("echo", None)
    own.pop("best_of", None)  # the house asks for as many as `n` and chooses
    if hands_on_suffix and own.get("suffix") is not None:
        handed_on["suffix"] = own.pop("suffix")
    request = _validate(CompletionRequest, own)
    request._handed_on = handed_on
    return request


def chat_job(request: ChatRequest, job_id: str, model: str) -> UpstreamJob:
    body = request.body()
    prompt = Prompt([], "\n".join(texts(body)))
    return _job("/v1/chat/completions", request, job_id, model, (prompt,), body)


def completion_job(request: CompletionRequest, job_id: str, model: str, vocabulary: TextVocabulary) -> UpstreamJob:
    asked: Any = request.prompt
    is_one = isinstance(asked, str) or (asked and isinstance(asked[0], int))
    if not asked and not is_one:
        raise BadRequestError("prompt must not be empty.", param="prompt")
    body = request.body()
    prompts = []
    for prompt in [asked] if is_one else asked:
        text = vocabulary.decode(prompt) if not isinstance(prompt, str) and vocabulary.is_text(prompt) else prompt
        prompts.append(Prompt([], text) if isinstance(text, str) else Prompt(text))
    sent = [prompt.token_ids if prompt.text is None else prompt.text for prompt in prompts]
    # What stands beside the prompts is checked with the first one.
    beside = texts({name: value for name, value in body.items() if name != "prompt"})
    if beside and prompts[0].text is not None:
        prompts[0] = Prompt([], "\n".join([prompts[0].text, *beside]))
    body["prompt"] = sent[0] if is_one else sent
    stops = request.stop_token_ids or []
    markers = [vocabulary.decode([index]) for index in stops if vocabulary.is_text([index])]
    if request.stop_token_ids is not None:
        body["stop_token_ids"] = [index for index in stops if not vocabulary.is_text([index])] or None
    if markers:
        body["stop"] = [*([request.stop] if isinstance(request.stop, str) else request.stop or ()), *markers]
        body["skip_special_tokens"] = False  # else the text that is looked at for stops has no markers
    # The house ends some of them before the usage of the end; what it ends is short.
    return _job("/v1/completions", request, job_id, model, tuple(prompts), body, continuous_usage_stats=True)


def _job(
    path: str,
    request: _Request,
    job_id: str,
    model: str,
    prompts: tuple[Prompt, ...],
    body: dict[str, Any],
    **options: Any,
) -> UpstreamJob:
    streamed = bool(request.stream)
    body["model"] = model
    # Prompts' logprobs are not streamed by servers that have them.
    body["stream"] = streamed or body.get("prompt_logprobs") is None
    body.pop("stream_options", None)
    if body["stream"]:
        given = request.stream_options.model_extra if request.stream_options is not None else None
        body["stream_options"] = {**(given or {}), "include_usage": True, **options}
    return UpstreamJob(job_id, model, prompts, request.n or 1, plan=Plan(path, body, streamed))


def _require(body: dict[str, Any], *names: str) -> None:
    for name in names:
        if body.get(name) is None:
            complaint = {"type": "missing", "loc": ("body", name), "msg": "Field required", "input": _shortened(body)}
            raise BadRequestError(str([complaint]), param=name)


def _validate(model: type[Request], body: dict[str, Any]) -> Request:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        shown = [
            {"type": one["type"], "loc": ("body", *one["loc"]), "msg": one["msg"], "input": _shortened(one["input"])}
            for one in found[:MAX_COMPLAINTS]
        ]
        raise BadRequestError(str(shown), param=str(found[0]["loc"][0]) if found[0]["loc"] else None) from None


def _shortened(value: Any) -> Any:
    text = repr(value)
    return value if len(text) <= MAX_INPUT_CHARACTERS else text[:MAX_INPUT_CHARACTERS] + "…"
