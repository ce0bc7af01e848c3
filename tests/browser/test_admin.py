"""The administrators' page: users made and shut out, usage, the journal, what runs, settings, the audit."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings
from tests.auth.test_users import PASSWORD, ROOT, Company, models
from tests.browser.conftest import found_site, with_variables
from tests.browser.watching import Visits
from tests.conftest import eventually, serving
from tests.journal.conftest import Place, make_place

VIEWS = ("users", "usage", "journal", "running", "settings", "audit")
QUESTION = "What is the secret of the soup?"


@pytest.fixture(scope="module")
def place(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = make_place(postgres, tmp_path_factory.mktemp("journal"))
    yield found
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{found.variables["LOGS_DB_NAME"]}" WITH (FORCE)')


@pytest.fixture(scope="module")
def company(bare_settings: Settings, postgres: str, place: Place) -> Iterator[Company]:
    with found_site(bare_settings, postgres, **place.variables) as found:
        yield found


@pytest.fixture
def engine(company: Company) -> Iterator[ScriptedEngine]:
    found = company.served.engine
    assert isinstance(found, ScriptedEngine)
    before = found.script
    yield found
    found.script = before


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("E-mail").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in")).to_be_hidden()


def by_token(page: Page, token: str) -> None:
    """Logins by password are limited: five a minute for an account."""
    page.get_by_role("button", name="Use an access token").click()
    page.get_by_label("Access token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in")).to_be_hidden()


def enter(visits: Visits, company: Company, view: str = "users", **options: Any) -> Page:
    """An administrator's page, at a view."""
    page = visits.open(f"{company.served.url}/admin#{view}", **options)
    by_token(page, company.root_token)
    expect(page.locator(f"[data-view={view}]")).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)
    return page


def go(page: Page, view: str) -> None:
    page.locator(f".tabs a[href='#{view}']").click()
    expect(page.locator(f"[data-view={view}]")).to_be_visible()
    expect(page.locator("[aria-busy]")).to_have_count(0)


def grave(page: Page) -> list[str]:
    """What axe finds serious or worse."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]


def ask(company: Company, token: str, **more: Any) -> httpx.Response:
    body = {"model": "", "messages": [{"role": "user", "content": QUESTION}], **more}
    with company.client(token) as client:
        return client.post("/v1/chat/completions", json=body)


def is_kept(place: Place, user: str, count: int = 1) -> None:
    """Waits until the journal has so many entries of theirs; others' may come meanwhile."""
    query = "SELECT count(*) AS n FROM journal WHERE username = %s"
    eventually(lambda: bool(place.rows(query, user)[0]["n"] >= count))


def test_a_user_is_made_signs_in_and_is_shut_out(visits: Visits, company: Company) -> None:
    page = enter(visits, company)
    page.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("E-mail")).to_be_focused()
    dialog.get_by_label("E-mail").fill(ROOT)
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_role("button", name="Make").click()
    expect(dialog.get_by_role("alert")).to_contain_text(f"There is a user with email {ROOT} already.")
    dialog.get_by_label("E-mail").fill("New.One@example.ru")
    visits.shoot(page, "dialog")
    page.keyboard.press("Enter")
    revealed = page.get_by_role("dialog", name="The new token")
    expect(revealed).to_contain_text("This is the token of new.one@example.ru.")
    token = revealed.locator("code").inner_text()
    assert models(company, token) == 200
    page.keyboard.press("Escape")
    expect(revealed).to_have_count(0)
    assert token not in page.content()
    row = page.get_by_role("row").filter(has_text="new.one@example.ru")
    expect(row).to_contain_text(token[:12] + "…")

    theirs = visits.open(company.served.url)
    sign_in(theirs, "new.one@example.ru")
    expect(theirs.locator("#account")).to_contain_text("new.one@example.ru")
    expect(theirs.locator("#question")).to_be_visible()

    row.get_by_role("button", name="Actions on new.one@example.ru").click()
    page.get_by_role("menuitem", name="Disable").click()
    expect(row).to_contain_text("Disabled")
    eventually(lambda: models(company, token) == 401)
    theirs.reload()
    expect(theirs.get_by_label("E-mail")).to_be_focused()

    row.get_by_role("button", name="Actions on").click()
    page.get_by_role("menuitem", name="Let in again").click()
    expect(row).not_to_contain_text("Disabled")
    eventually(lambda: models(company, token) == 200)
    row.get_by_role("button", name="Actions on").click()
    page.get_by_role("menuitem", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)
    eventually(lambda: models(company, token) == 401)
    go(page, "audit")
    for number, told in enumerate(("deleted", "let in again", "disabled", "made user")):
        entry = page.locator("[data-view=audit] tbody tr").nth(number)
        expect(entry).to_contain_text(told)
        expect(entry).to_contain_text("new.one@example.ru")


def test_a_token_is_made_and_revoked(visits: Visits, company: Company) -> None:
    first = company.hire("tokens@example.ru")
    page = enter(visits, company)
    page.get_by_label("Find by e-mail").fill("TOKENS@")
    expect(page.get_by_role("status").filter(has_text="Users: 1")).to_be_visible()
    page.get_by_role("row").filter(has_text="tokens@example.ru").click()
    tokens = page.get_by_role("dialog", name="Tokens of tokens@example.ru")
    tokens.get_by_role("button", name="New token").click()
    page.get_by_label("Days that it works").fill("3")
    page.get_by_role("dialog", name="New token").get_by_role("button", name="Make").click()
    second = page.get_by_role("dialog", name="The new token").locator("code").inner_text()
    page.keyboard.press("Escape")
    assert models(company, second) == 200
    expect(tokens.get_by_role("row")).to_have_count(3)
    visits.shoot(page, "tokens")
    tokens.get_by_role("button", name=f"Revoke {second[:12]}").click()
    page.get_by_role("dialog", name="Revoke this token?").get_by_role("button", name="Revoke").click()
    expect(tokens.get_by_role("row")).to_have_count(2)
    eventually(lambda: models(company, second) == 401)
    assert models(company, first) == 200


def test_the_last_administrator_is_told_why_they_stay(visits: Visits, company: Company) -> None:
    page = enter(visits, company)
    row = page.get_by_role("row").filter(has_text=ROOT)
    row.get_by_role("button", name="Actions on").click()
    page.get_by_role("menuitem", name="Disable").click()
    expect(page.locator("#notices")).to_contain_text("The last administrator can't be disabled or deleted")
    expect(row).not_to_contain_text("Disabled")


def test_usage_shows_the_journals_figures(visits: Visits, company: Company, place: Place) -> None:
    token = company.hire("busy@example.ru")
    for _ in range(3):
        assert ask(company, token).status_code == 200
    assert ask(company, token, model="nothing").status_code == 404
    with psycopg.connect(place.address, autocommit=True) as connection:
        for number in range(4):
            connection.execute(
                "INSERT INTO completion_views (completion_id, choice_index, language, shown_at, accepted_at, seen_at) "
                "VALUES (%s, 0, 'python', now(), CASE WHEN %s THEN now() END, now())",
                [f"shown {number}", number == 0],
            )
    is_kept(place, "busy@example.ru", 4)
    page = enter(visits, company, "usage")
    view = page.locator("[data-view=usage]")
    row = view.get_by_role("row").filter(has_text="busy@example.ru")
    expect(row.get_by_role("cell").nth(1)).to_have_text("4")
    expect(row.get_by_role("cell").nth(2)).to_have_text("1")
    chart = view.get_by_role("figure").filter(has=page.get_by_role("heading", name="Requests", exact=True))
    told = re.compile(r"Requests\. Answered: from 0 to \d+\. Errors: from 0 to \d+\.")
    expect(chart.get_by_role("img")).to_have_attribute("aria-label", told)
    chart.get_by_text("As a table").click()
    expect(chart.get_by_role("row")).to_have_count(8)
    expect(view.get_by_text("25%").first).to_be_visible()
    view.get_by_label("Grouped").first.select_option("route")
    expect(view.get_by_role("row").filter(has_text="POST /v1/chat/completions")).to_be_visible()
    view.get_by_label("Period").select_option("30")
    expect(chart.locator(".column")).to_have_count(30)


def test_the_journal_is_searched_and_read_and_it_is_told(visits: Visits, company: Company, place: Place) -> None:
    token = company.hire("reader@example.ru")
    assert ask(company, token).status_code == 200
    assert ask(company, token, model="nothing").status_code == 404
    is_kept(place, "reader@example.ru", 2)
    page = enter(visits, company, "journal")
    rows = page.locator("[data-view=journal] tbody tr")
    page.get_by_label("User or address").fill("reader@example.ru")
    expect(rows).to_have_count(2)
    page.get_by_label("Only errors").check()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("404")
    page.get_by_label("Only errors").uncheck()
    expect(rows).to_have_count(2)
    page.get_by_label("Status").fill("2xx")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("200")
    rows.get_by_role("link").focus()
    page.keyboard.press("Enter")
    entry = page.get_by_role("dialog", name="POST /v1/chat/completions")
    expect(entry).to_contain_text(QUESTION)
    expect(entry).to_contain_text("Hello, world")
    expect(entry).to_contain_text("reader@example.ru")
    visits.shoot(page, "entry")
    entry.get_by_text("Request", exact=True).click()
    assert json.loads(text_of(entry.get_by_role("region", name="Request")))["messages"] == [
        {"role": "user", "content": QUESTION}
    ]
    entry.get_by_text("Configuration of then").click()
    assert json.loads(text_of(entry.get_by_role("region", name="Configuration of then")))["DB_URL"] == "********"
    page.keyboard.press("Escape")
    expect(entry).to_have_count(0)
    expect(page).to_have_url(re.compile("#journal$"))
    go(page, "audit")
    told = page.locator("[data-view=audit] tbody tr").first
    expect(told).to_contain_text("read entry")
    expect(told).to_contain_text("reader@example.ru")
    told.get_by_role("link").click()
    expect(page.get_by_role("dialog")).to_contain_text(QUESTION)


def text_of(region: Locator) -> str:
    """When it has come: it is put in when it is opened."""
    expect(region).not_to_be_empty()
    return region.inner_text()


def test_a_hostile_entry_changes_nothing_but_the_text(visits: Visits, company: Company, place: Place) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    with company.client(company.hire("hostile@example.ru")) as client:
        body = {"model": hostile, "messages": [{"role": hostile, "content": hostile}]}
        client.post("/v1/chat/completions", json=body, headers={"x-request-id": "a:b"})
    is_kept(place, "hostile@example.ru")
    page = enter(visits, company, "journal")
    page.get_by_label("User or address").fill("hostile@example.ru")
    row = page.locator("[data-view=journal] tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(hostile)
    expect(page.locator("[aria-busy]")).to_have_count(0)
    row.click()
    expect(page.get_by_role("dialog")).to_contain_text(hostile)
    assert page.locator("main img, dialog img, dialog script").count() == 0


def test_what_runs_is_shown_and_ended(visits: Visits, company: Company, engine: ScriptedEngine) -> None:
    engine.script = Script(endless=True, pause_s=0.02)
    token = company.hire("slow@example.ru")
    told: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: told.append(ask(company, token)))
    thread.start()
    page = enter(visits, company, "running")
    row = page.locator("[data-view=running] tbody tr").filter(has_text="slow@example.ru")
    expect(row).to_contain_text("POST /v1/chat/completions")
    button = row.get_by_role("button", name="End the request of slow@example.ru")
    button.focus()
    before = row.get_by_role("cell").nth(3).inner_text()
    expect(row.get_by_role("cell").nth(3)).not_to_have_text(before)
    expect(button).to_be_focused()  # also after the list was brought up to date
    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="End").click()
    expect(row).to_have_count(0)
    thread.join(30)
    assert (told[0].status_code, told[0].json()["message"]) == (403, "An administrator has ended this request.")


def test_settings_are_found_and_secrets_masked(visits: Visits, company: Company) -> None:
    page = enter(visits, company, "settings")
    view = page.locator("[data-view=settings]")
    expect(view.locator(".engine")).to_contain_text("scripted")
    view.get_by_label("Find a setting").fill("db_url")
    expect(view.get_by_role("row").filter(has_text="DB_URL").first).to_contain_text("********")
    assert "postgresql://" not in page.content()


def test_only_for_administrators(visits: Visits, company: Company, bare_settings: Settings) -> None:
    company.hire("plain@example.ru")
    page = visits.open(f"{company.served.url}/admin")
    sign_in(page, "plain@example.ru")
    expect(page.get_by_role("heading", name="This is for administrators")).to_be_visible()
    expect(page.locator(".tabs")).to_be_hidden()
    page.get_by_role("button", name="Sign in as somebody else").click()
    sign_in(page, ROOT)
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    without: tuple[dict[str, Any], ...] = ({}, {"VLLM_API_KEY": SecretStr("one for all")})
    for variables in without:
        with serving(with_variables(bare_settings, variables), ScriptedEngine()) as other:
            page = visits.open(f"{other.url}/admin")
            expect(page.get_by_role("heading", name="There are no users here")).to_be_visible()
            expect(page.locator("#sign-in")).to_be_hidden()


def test_an_address_that_is_none_shows_users(visits: Visits, company: Company) -> None:
    page = visits.open(f"{company.served.url}/admin#constructor")
    by_token(page, company.root_token)
    expect(page.get_by_role("heading", name="Users", exact=True)).to_be_visible()
    expect(page.get_by_text(ROOT).last).to_be_visible()


def test_another_language_comes_without_a_reload(visits: Visits, company: Company) -> None:
    page = enter(visits, company, "usage")
    page.get_by_role("button", name="Русский язык").click()
    expect(page.get_by_role("heading", name="Использование")).to_be_visible()
    expect(page.get_by_role("heading", name="Запросы").first).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Использование")).to_be_visible()
    page.get_by_role("link", name="Журнал").click()
    expect(page.get_by_label("Пользователь или адрес")).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("dark", 390)])
def test_everybody_can_use_it(visits: Visits, company: Company, place: Place, scheme: str, width: int) -> None:
    ask(company, company.root_token)
    is_kept(place, ROOT)
    page = enter(visits, company, color_scheme=scheme, viewport={"width": width, "height": 844})
    for view in VIEWS:
        go(page, view)
        assert grave(page) == [], view
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        visits.shoot(page, view)
    go(page, "journal")
    page.locator("[data-view=journal] tbody tr").first.get_by_role("link").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert grave(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    go(page, "users")
    page.get_by_role("button", name="New user").click()
    expect(page.get_by_role("dialog", name="New user")).to_be_visible()
    assert grave(page) == []
