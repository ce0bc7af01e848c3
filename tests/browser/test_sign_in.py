"""Signing in to the page: by password, by token, by single sign-on; and out."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from kodify.settings import Settings
from tests.auth.test_sign_on import CLIENT, Provider, provider
from tests.auth.test_users import PASSWORD, ROOT, Company, models
from tests.browser.conftest import found_site
from tests.browser.watching import Visits

__all__ = ["provider"]

# The provider's own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def company(bare_settings: Settings, postgres: str, provider: Provider) -> Iterator[Company]:
    sign_on = {
        "OIDC_DISCOVERY_URL": f"{provider.url}/.well-known/openid-configuration",
        "OIDC_AUDIENCE": "api",
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET": SecretStr("any secret"),
    }
    with found_site(bare_settings, postgres, **sign_on) as found:
        yield found


def is_in(page: Page, name: str) -> None:
    expect(page.locator("#sign-in")).to_be_hidden()
    expect(page.locator("#account")).to_contain_text(name)
    expect(page.locator("#question")).to_be_focused()


def test_by_password_and_out_again(visits: Visits, company: Company) -> None:
    page = visits.open(company.served.url)
    expect(page.get_by_role("heading", name="Sign in to Kodify")).to_be_visible()
    page.get_by_label("E-mail").fill(f"  {ROOT.upper()} ")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("#sign-in .problem")).to_have_text("E-mail or password is not right.")
    visits.shoot(page, "refused")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    is_in(page, ROOT)
    page.reload()
    is_in(page, ROOT)
    page.locator("#account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.reload()
    expect(page.get_by_label("E-mail")).to_be_focused()


def test_by_token_and_a_revoked_one_leads_back(visits: Visits, company: Company) -> None:
    token = company.hire("token@example.ru")
    page = visits.open(company.served.url)
    page.get_by_role("button", name="Use an access token").click()
    page.get_by_label("Access token").fill("kdf_" + "1" * 40)
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in .problem")).to_have_text("This token is not valid. It may have expired.")
    page.get_by_label("Access token").fill(f" {token}\n")
    page.keyboard.press("Enter")
    is_in(page, "token@example.ru")
    assert token not in page.content()
    assert page.evaluate("document.cookie + JSON.stringify(localStorage)").find(token) < 0
    with company.client(token) as client:
        (own,) = client.get("/users/me/tokens").json()["data"]
        assert client.delete(f"/users/me/tokens/{own['id']}").status_code == 204
    assert models(company, token) == 401
    ask_signed_out(page, "token@example.ru")
    is_in(page, "token@example.ru")
    expect(page.locator("#question")).to_have_value("Are you there?")
    expect(page.locator("#send")).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.locator(".message.assistant .text")).to_have_text("Hello, world")


def test_who_signs_in_after_another_finds_nothing_of_theirs(visits: Visits, company: Company) -> None:
    token = company.hire("before@example.ru")
    assert models(company, token) == 200
    page = visits.open(company.served.url)
    sign_in(page, "before@example.ru")
    is_in(page, "before@example.ru")
    with company.root() as root:
        assert root.post("/disable_by_email", data={"email": "before@example.ru"}).status_code == 200
    assert models(company, token) == 401
    ask_signed_out(page, ROOT)
    is_in(page, ROOT)
    expect(page.locator("#question")).to_have_value("")
    assert page.evaluate("JSON.stringify(localStorage)") == "{}"


def ask_signed_out(page: Page, email: str) -> None:
    """Asks with a session that has ended, and signs in with `email`."""
    page.locator("#question").fill("Are you there?")
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in .problem")).to_have_text("You are signed out. Sign in to go on.")
    sign_in(page, email)


def sign_in(page: Page, email: str) -> None:
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")


def test_by_single_sign_on(visits: Visits, company: Company, provider: Provider) -> None:
    visits.expect_host(provider.url)
    page = visits.open(company.served.url)
    page.get_by_role("link", name="Continue with single sign-on").click()
    page.wait_for_url(re.compile(re.escape(provider.url)))
    page.locator("input[name=sub]").fill("ann@example.ru")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{company.served.url}/")
    is_in(page, "ann@example.ru")


def test_a_sign_on_that_failed_says_so(visits: Visits, company: Company) -> None:
    page = visits.open(f"{company.served.url}/?sign_on=failed")
    expect(page.locator("#sign-in .problem")).to_contain_text("The sign-on did not work.")
