"""What Kodify's own pages send."""

from __future__ import annotations

import msgspec


class SignIn(msgspec.Struct):
    """A token, or e-mail and password."""

    token: str | None = None
    email: str | None = None
    password: str | None = None
