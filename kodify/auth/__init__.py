"""Who is asking: the methods of authorisation."""

from __future__ import annotations

from kodify.auth.base import AuthMethod, Principal
from kodify.auth.dummy import DummyAuth
from kodify.auth.one_token import OneTokenAuth
from kodify.settings import Settings

__all__ = ["AuthMethod", "Principal", "build"]


def build(settings: Settings) -> AuthMethod:
    if settings.vllm_api_key is not None:
        return OneTokenAuth(settings.vllm_api_key.get_secret_value())
    return DummyAuth()
