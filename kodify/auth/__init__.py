"""Who is asking: the methods of authorisation."""

from __future__ import annotations

from kodify.auth.administration import Administration
from kodify.auth.base import AuthMethod, Principal
from kodify.auth.code_flow import CodeFlow
from kodify.auth.dummy import DummyAuth
from kodify.auth.limits import Allowance, UserLimits
from kodify.auth.logins import LoginLimits
from kodify.auth.oidc import OidcVerifier
from kodify.auth.one_token import OneTokenAuth
from kodify.auth.register import Register
from kodify.auth.sign_on import SignOn
from kodify.auth.users import UsersAuth
from kodify.db.places import users_database
from kodify.db.tables import TokenFields, UserFields, users_tables
from kodify.metrics import Metrics
from kodify.settings import Settings

__all__ = [
    "Administration",
    "AuthMethod",
    "CodeFlow",
    "DummyAuth",
    "LoginLimits",
    "Principal",
    "Register",
    "TokenFields",
    "UserFields",
    "UserLimits",
    "UsersAuth",
    "administration",
    "build",
    "build_users",
    "set_limits",
]


def build(settings: Settings, metrics: Metrics) -> AuthMethod:
    if settings.mtsai_auth:
        return build_users(settings, metrics)
    if settings.vllm_api_key is not None:
        return OneTokenAuth(settings.vllm_api_key.get_secret_value())
    return DummyAuth()


def build_users(settings: Settings, metrics: Metrics, *, migrate: bool | None = None) -> UsersAuth:
    sign_on = _sign_on(settings)
    return UsersAuth(
        users_database(settings),
        users_tables(settings.users_table),
        metrics,
        migrate=settings.run_migrations if migrate is None else migrate,
        outage_s=settings.auth_outage_s,
        sign_on=sign_on,
        code_flow=_code_flow(settings, sign_on),
        allowance=_allowance(settings),
    )


def set_limits(method: AuthMethod, settings: Settings) -> None:
    """Those of `settings`, from now on."""
    if isinstance(method, UsersAuth):
        method.allow(_allowance(settings))


def _allowance(settings: Settings) -> Allowance:
    return Allowance(
        settings.limit_requests_per_minute, settings.limit_concurrent_requests, settings.limit_tokens_per_day
    )


def _sign_on(settings: Settings) -> SignOn | None:
    if settings.oidc_discovery_url is None:
        return None
    assert settings.oidc_audience is not None, "verdicts.py asks for OIDC_AUDIENCE"
    verifier = OidcVerifier(
        settings.oidc_discovery_url, settings.oidc_audience, settings.oidc_email_claim, settings.oidc_admin_claim
    )
    return SignOn(verifier, settings.oidc_user_days)


def _code_flow(settings: Settings, sign_on: SignOn | None) -> CodeFlow | None:
    if sign_on is None or settings.oidc_client_id is None:
        return None
    secret = settings.oidc_client_secret
    return CodeFlow(sign_on.verifier, settings.oidc_client_id, secret.get_secret_value() if secret else None)


def administration(method: AuthMethod, settings: Settings) -> Register | None:
    """None where there are no users."""
    return Register(method, token_days=settings.token_days) if isinstance(method, UsersAuth) else None
