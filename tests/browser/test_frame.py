"""The page's frame: languages, colours, phones, what is transferred, what screen readers find."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from kodify.engine.scripted import Script
from kodify.settings import Settings
from tests.browser.conftest import Site, ask, is_up, open_site
from tests.browser.test_chat import ANSWER, finished, pieces
from tests.browser.watching import Visits

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2,
}
MOST_BYTES = 100_000


def test_the_language_changes_without_a_reload_and_is_remembered(visits: Visits, site: Site) -> None:
    context = visits.context()
    page = visits.open(site.url, context)
    expect(page.get_by_role("heading", name="What are you working on?")).to_be_visible()
    is_up(page)
    page.locator("#question").fill("a draft that stays")
    page.get_by_role("button", name="Русский язык").first.click()
    expect(page.get_by_role("heading", name="Над чем вы работаете?")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(page.locator("#question")).to_have_value("a draft that stays")
    expect(page.get_by_label("Уровень читателя")).to_be_visible()
    page.keyboard.press("Control+Shift+O")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    ask(page, "Привет")
    finished(page)
    page.locator(".message.assistant").hover()
    expect(page.get_by_role("button", name="Копировать ответ")).to_be_visible()
    page.get_by_role("button", name="English").first.click()
    expect(page.get_by_role("button", name="Copy the answer")).to_be_visible()
    expect(page.locator("#title")).to_have_text("Привет")


def test_a_russian_browser_gets_russian(visits: Visits, site: Site) -> None:
    page = visits.open(site.url, locale="ru-RU")
    expect(page.get_by_role("heading", name="Над чем вы работаете?")).to_be_visible()


def test_colours_are_the_systems_until_they_are_chosen(visits: Visits, site: Site) -> None:
    page = visits.open(site.url, color_scheme="dark")
    is_up(page)
    paper, name = page.locator("body"), "background-color"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Colours").first.click()
    expect(paper).not_to_have_css(name, dark)
    page.reload()
    is_up(page)
    expect(paper).not_to_have_css(name, dark)
    for _ in range(2):
        page.get_by_role("button", name="Colours").first.click()
    expect(paper).to_have_css(name, dark)


def test_the_first_paint_is_light_and_all_from_here(visits: Visits, site: Site) -> None:
    context = visits.context()
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    received: list[float] = []
    session = context.new_cdp_session(page)
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    session.send("Network.enable")
    page.goto(site.url)
    page.wait_for_load_state("networkidle")
    expect(page.locator("#model option")).to_have_count(1)
    total = sum(received)
    print(f"{total:.0f} bytes in {len(received)} answers")
    assert len(received) > 20 and 20_000 < total < MOST_BYTES
    assert [address for address in asked if not address.startswith(f"{site.url}/")] == []
    before = len(received)
    page.reload()
    page.wait_for_load_state("networkidle")
    again = sum(received[before:])
    print(f"{again:.0f} bytes the second time")
    assert again < total / 3


def serious(page: Page) -> list[str]:
    found: dict[str, Any] = Axe().run(page).response
    return [
        f"{one['id']}: {one['help']} ({one['nodes'][0]['html'][:200]})"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"]
)
def test_axe_finds_nothing_serious(visits: Visits, site: Site, locale: str, options: dict[str, Any]) -> None:
    site.engine.script = Script(pieces(ANSWER + "\n> A [link](https://example.com) and *more*.\n", 20))
    page = visits.open(site.url, locale=locale, reduced_motion="reduce", bypass_csp=True, **options)
    expect(page.locator("#empty")).to_be_visible()
    found = serious(page)
    ask(page, "Twice, please")
    finished(page)
    page.locator("#chooser").set_input_files({"name": "a.py", "mimeType": "text/plain", "buffer": b"a = 1\n"})
    expect(page.locator("[data-action=fix]")).to_be_visible()
    found += serious(page)
    page.locator("#settings-open").click()
    found += serious(page)
    page.keyboard.press("Escape")
    if "is_mobile" in options:
        page.locator("[data-side=open]").click()
    page.locator("#account").click()
    expect(page.locator(".menu")).to_be_visible()
    found += serious(page)
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_one_signs_in(visits: Visits, bare_settings: Settings, scheme: str) -> None:
    with open_site(bare_settings, VLLM_API_KEY=SecretStr("the one token")) as site:
        page = visits.open(site.url, color_scheme=scheme, reduced_motion="reduce", bypass_csp=True)
        page.get_by_label("Access token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#sign-in .problem")).to_be_visible()
        assert serious(page) == []


def test_on_a_phone_conversations_are_a_drawer(visits: Visits, site: Site) -> None:
    page = visits.open(site.url, **PHONE)
    expect(page.locator("#side")).to_be_hidden()
    is_up(page)
    page.locator("#question").fill("From a phone, with a_very_long_word_" + "x" * 200)
    expect(page.locator("#send")).to_be_enabled()
    page.get_by_role("button", name="Send").tap()
    finished(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Show conversations").tap()
    expect(page.get_by_role("link", name="From a phone")).to_be_visible()
    expect(page.locator("#main")).to_have_attribute("inert", "")
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_be_hidden()
    page.get_by_role("button", name="Show conversations").tap()
    page.get_by_role("button", name="New chat").first.tap()
    expect(page.locator("#side")).to_be_hidden()
    expect(page.locator("#empty")).to_be_visible()


def test_it_can_be_used_by_keyboard_alone(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    is_up(page)
    expect(page.locator("#question")).to_be_focused()
    page.locator("body").press("Tab")
    order = []
    for _ in range(6):
        order.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    assert order[:4] == ["attach", "model", "level", "settings-open"]
    page.locator(".skip").focus()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#empty")).to_be_visible()


def test_an_address_that_is_none_shows_that_there_is_no_such_chat(visits: Visits, site: Site) -> None:
    visits.expect("WebSocket connection to")
    page = visits.open(f"{site.url}/#%")
    expect(page.get_by_role("heading", name="This chat is no longer here")).to_be_visible()
    page.get_by_role("button", name="New chat").last.click()
    ask(page, "Hi")
    finished(page)
