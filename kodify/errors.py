"""The errors that a caller can act on. Anything else that is raised is a bug.

Status, type and wire code are the class's own; the wire shape is made in `api/errors.py`.
"""

from __future__ import annotations

STOPPING = "The server is stopping. Please try again later"
CROWDED = "Too many connections are open. Please try again later"


class KodifyError(Exception):
    """An error with an answer: `status` (HTTP, also the body's `code`), `type`, `message`, `param`."""

    status = 500
    type = "InternalServerError"
    default_message = "Internal Server Error"

    def __init__(self, message: str | None = None, *, param: str | None = None, retry_after_s: int | None = None):
        super().__init__(message or self.default_message)
        self.message = message or self.default_message
        self.param = param
        self.retry_after_s = retry_after_s


class BadRequestError(KodifyError):
    status = 400
    type = "BadRequestError"
    default_message = "Bad Request"


class UnauthorizedError(KodifyError):
    status = 401
    type = "UnauthorizedError"
    default_message = "UnauthorizedError: Wrong token"


class ForbiddenError(KodifyError):
    status = 403
    type = "ForbiddenError"
    default_message = "Forbidden"


class EndedError(ForbiddenError):
    """Not one of the errors after which clients' libraries try again."""

    default_message = "An administrator has ended this request."


class NotFoundError(KodifyError):
    status = 404
    type = "NotFoundError"
    default_message = "Not Found"


class MethodNotAllowedError(KodifyError):
    status = 405
    type = "MethodNotAllowedError"
    default_message = "Method Not Allowed"


class ConflictError(KodifyError):
    """What is asked contradicts what there is."""

    status = 409
    type = "ConflictError"
    default_message = "Conflict"


class RequestTimeoutError(KodifyError):
    """The client takes too long to say what it wants."""

    status = 408
    type = "RequestTimeoutError"
    default_message = "The request's body did not come in time."


class AddressTooLongError(KodifyError):
    status = 414
    type = "AddressTooLongError"
    default_message = "The request's address is too long."


class HeadTooLargeError(KodifyError):
    status = 431
    type = "HeadTooLargeError"
    default_message = "The request's headers are too large or too many."


class BodyTooLargeError(KodifyError):
    status = 413
    type = "BodyTooLargeError"
    default_message = "The request body is too large."


class UnprocessableEntityError(KodifyError):
    status = 422
    type = "UnprocessableEntityError"
    default_message = "Unprocessable Entity"


class TooManyRequestsError(KodifyError):
    """One caller asks more often than is allowed."""

    status = 429
    type = "RateLimitError"
    default_message = "Too many requests. Please try again later"

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: int | None = None,
        headers: list[tuple[bytes, bytes]] | None = None,
    ):
        super().__init__(message, retry_after_s=retry_after_s)
        self.headers = headers or []


class UnavailableError(KodifyError):
    """The server can't take the request now; another try, or another replica, may."""

    status = 503
    type = "ServiceUnavailableError"
    default_message = "The server was unable to complete your request. Please try again later"

    def __init__(self, message: str | None = None, *, param: str | None = None, retry_after_s: int | None = 5):
        super().__init__(message, param=param, retry_after_s=retry_after_s)


class EngineFailedError(KodifyError):
    """The engine failed at this request or died; the log has the cause."""

    default_message = "The engine failed to complete the request."


class ConfigError(KodifyError):
    """The configuration can't be served; the message says in one sentence what to set."""

    type = "ConfigError"
