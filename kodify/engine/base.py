"""What the house means by an engine: jobs go in, deltas are pushed out.

Plain frozen data and Protocols; no engine is imported here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:  # the engine's, and slow to import
    import numpy as np


class TokenLogprob(msgspec.Struct, frozen=True):
    """One position: the token that stands there and, most likely first, the alternatives asked for."""

    id: int
    token: str
    logprob: float
    rank: int | None = None
    top: tuple[TokenLogprob, ...] = ()


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A piece of a tool call; `id` and `name` come once, `arguments` is a piece of JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Delta(msgspec.Struct, frozen=True):
    """What one engine step added to one choice; a whole answer comes as one delta a choice.

    `index` counts choices over all prompts of the job. The last delta of a choice has a `finish_reason`
    (stop, length, tool_calls). `logprobs` has one entry a token where the job asked for them;
    `prompt_logprobs`, on the first delta of a choice, one a prompt token, None for the first.
    """

    index: int
    text: str
    token_ids: Sequence[int] = ()
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    logprobs: Sequence[TokenLogprob] | None = None
    prompt_logprobs: Sequence[TokenLogprob | None] | None = None
    cumulative_logprob: float | None = None
    reasoning: str | None = None
    tool_calls: Sequence[ToolCallDelta] = ()
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids as the model reads them; `text` where the prompt was text."""

    token_ids: list[int]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One request, ready to run: `choices` answers for each prompt. `plan` is the engine's own.

    `priority`: where the engine has to choose, the lower number goes first, and among equals the lower `ahead`: what
    else its user has running. `tells_cached`: its first and its last
    deltas say how many of the prompt's tokens the engine had, whatever the configuration says.
    """

    id: str
    model: str
    prompts: tuple[Prompt, ...]
    choices: int = 1
    plan: Any = field(default=None, repr=False)
    priority: int = 0
    tells_cached: bool = False
    ahead: int = 0

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.token_ids) for prompt in self.prompts)


class Sink(Protocol):
    """Where deltas go. Called synchronously from the engine's output loop: must not block or raise."""

    def emit(self, delta: Delta) -> None: ...

    def fail(self, error: Exception) -> None:
        """The job ends here, with a KodifyError or a bug; nothing follows."""


class Ticket(Protocol):
    """A running job."""

    def cancel(self) -> None:
        """Stops the engine's work on it; safe to call at any time, any number of times, without awaiting."""


class Screened(Sink, Protocol):
    """An answer that a screen stands before."""

    finished: bool
    first_at: float
    completion_tokens: int


class Screening(Sink, Protocol):
    """Lets a job's prompt in and its deltas out, the same objects; the last of a blocked choice is the screen's own."""

    async def admit(self) -> bool:
        """Whether the engine may have the job; if not, the answer has been told."""

    def bind(self, ticket: Ticket) -> None:
        """The job runs: this is how to stop it."""

    def close(self) -> None:
        """Nobody listens any more."""


Screener = Callable[[Job, Screened], Screening]


class ParsedRequest(Protocol):
    """The fields of a validated OpenAI request that the house reads; the engine knows the rest."""

    model: str | None
    stream: bool | None
    n: int | None
    temperature: float | None
    top_p: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    max_tokens: int | None
    echo: bool
    stop_token_ids: list[int] | None
    stream_options: Any


class Vocabulary(Protocol):
    @property
    def quick_characters(self) -> int:
        """Texts up to this long may be encoded on the event loop; longer ones belong in a thread."""

    @property
    def start_ids(self) -> Sequence[int]:
        """What the tokenizer puts before a text that is a whole prompt."""

    def token_id(self, token: str) -> int | None:
        """The id of a token of this exact text, None where the tokenizer has no such single token."""

    def encode_plain(self, text: str, *, continues: bool = False) -> list[int]:
        """Token ids of text in which nothing is a control token, whatever it reads like.

        `continues`: without the leading space that some tokenizers begin a text with.
        """

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens included."""

    def part(self, text: str) -> str:
        """The same to read, without the text of any control token: for messages, whose template is rendered as a text
        before it is encoded."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the start-up block, the health routes and `/v1/models` tell."""

    names: tuple[str, ...]
    path: str
    device: str
    context_tokens: int
    kv_cache_tokens: int
    started_at: int  # UNIX seconds
    details: dict[str, str] = field(default_factory=dict)
    parent: str | None = None  # of an adapter: the name of its model
    most_running: int = 0  # sequences at once; 0: it does not say


class Engine(Protocol):
    """A model being served. Every method raises KodifyErrors only, bugs aside."""

    @property
    def facts(self) -> EngineFacts: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def parse_chat(self, body: dict[str, Any]) -> Any:
        """A ParsedRequest, or BadRequestError in the documented form."""

    def parse_completion(self, body: dict[str, Any]) -> Any: ...

    async def chat_job(self, request: Any, job_id: str) -> Job:
        """Renders the messages. BadRequestError where prompt and completion don't fit the context."""

    async def completion_job(self, request: Any, job_id: str) -> Job: ...

    async def submit(self, job: Job, sink: Sink) -> Ticket: ...

    async def check_health(self) -> None:
        """Raises UnavailableError where the engine can't generate."""

    def running(self) -> int:
        """Requests that the engine still works on."""

    def metrics(self) -> bytes:
        """Its series in the Prometheus text format."""


@runtime_checkable
class AdapterHost(Protocol):
    """An engine that serves LoRA adapters of its model beside it."""

    async def load_adapter(self, name: str, path: str) -> Engine:
        """The adapter in the folder `path`, ready for jobs. Its `stop` unloads it, after the last of its jobs.

        BadRequestError where there is none that fits the model.
        """


@runtime_checkable
class DescribedEngine(Protocol):
    """An engine that tells the shapes of the bodies that it validates itself."""

    def shapes(self, reference: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """JSON schemas of bodies by kind, and what they refer to by name; `reference` has a place for the name,
        `{model}`. May take a second: not for the event loop."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """`vectors`: float32, one row an input. `prompt_tokens`: of each input, with those that the tokenizer adds."""

    vectors: np.ndarray[Any, np.dtype[np.float32]]
    prompt_tokens: tuple[int, ...]


class EmbeddingEngine(Protocol):
    """A model that turns texts into vectors. Every method raises KodifyErrors only, bugs aside."""

    @property
    def facts(self) -> EngineFacts: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def embed(
        self,
        inputs: Sequence[str] | Sequence[list[int]],
        *,
        dimensions: int | None = None,
        request_id: str = "",
        cut: bool = False,
    ) -> Embedded:
        """Of texts, or of token ids as the model reads them. Cancelled with the task that awaits it. `cut`: what is
        longer than the context loses its end.

        BadRequestError where an input is empty or longer than the context, or where the model has no vectors of so
        many `dimensions`.
        """

    async def check_health(self) -> None:
        """Raises UnavailableError where the engine can't embed."""

    def running(self) -> int:
        """Inputs that the engine still works on."""

    def metrics(self) -> bytes:
        """Its series in the Prometheus text format."""


Dialect = Literal["messages", "count_tokens", "responses", "tokenize", "detokenize"]


class Event(msgspec.Struct, frozen=True):
    """One of a stream, as its dialect names it; `data` is JSON."""

    name: str
    data: bytes


@dataclass(slots=True)
class Progress:
    """How far a request has come that the engine answers in a dialect. `first_at`: when the first output came, on the
    monotonic clock; 0 before. `finish_reason`: the engine's, or the screen's."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_at: float = 0.0
    finish_reason: str | None = None
    ahead: int = 0  # what else its user has running, before it begins
    # Where there is a screen: awaited when that has let the prompt in, before it takes an engine's room; sets `ahead`.
    enter: Callable[[], Awaitable[None]] | None = None


@runtime_checkable
class DialectEngine(Protocol):
    """An engine that speaks dialects by itself, beside the jobs that it takes."""

    screens_dialects: bool  # whether it can let a screen see what it says

    async def serve(
        self, dialect: Dialect, body: dict[str, Any], progress: Progress, screen: Screener | None = None
    ) -> dict[str, Any] | AsyncGenerator[Event, None]:
        """The answer, or a stream's events; `progress` is kept up to date. Cancelled with the task that awaits it or
        its events. Raises KodifyErrors only, bugs aside, and so do the events.

        `screen` sees the prompt and all that the model says. What it blocks ends as if the model had stopped: whole,
        without a word; streamed, after what has passed.
        """
