"""Answers from collections: chosen at the composer, kept with the chat, their sources shown, linked and read."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from kodify.config_file import ConfigFile
from kodify.engine.scripted import Script, ScriptedEngine, WordEmbedder
from kodify.engines import Engines, Served
from kodify.retrieval import Library
from kodify.retrieval.base import Origin
from kodify.settings import Settings
from tests.browser.conftest import ask, with_variables
from tests.browser.test_chat import answers, finished, pieces
from tests.browser.test_frame import PHONE, serious
from tests.browser.test_hostile import TRACES
from tests.browser.watching import Visits
from tests.conftest import Served as App
from tests.conftest import eventually, serving

COMMIT = "c0ffee1234567890c0ffee1234567890c0ffee12"
LINKED = f"https://github.com/team/project/blob/{COMMIT}/lib/fruit.py#L1-L2"
CODE = "def pears():\n    return 'pears are sweet'\n"
NOTES = "# Fruit\n\n## Pears\n\nPears are sweet in October."
BAD_PATH = '"><img src=x onerror=alert(1)>](javascript:alert(2)) `x` <!--.md'
BAD_TEXT = (
    "# <script>alert(3)</script> [x](https://evil.example)\n\n</pre><img src=x onerror=alert(5)> kumquats are sour"
)
ANSWER = "In October, says [the first passage](https://example.com)."


@dataclass(frozen=True)
class Shop:
    """A server with collections."""

    app: App
    engine: ScriptedEngine
    embedder: WordEmbedder

    @property
    def url(self) -> str:
        return self.app.url

    def fill(self, name: str, documents: dict[str, tuple[str, Origin]]) -> None:
        library: Library = self.app.app.state.library

        async def work() -> None:
            await library.make(name)
            for path, (text, origin) in documents.items():
                await library.put(name, path, text.encode(), origin)

        asyncio.run_coroutine_threadsafe(work(), self.app.loop).result(30)

    def drop(self, *names: str) -> None:
        library: Library = self.app.app.state.library

        async def work() -> None:
            for name in names or await library.names():
                await library.drop(name)

        asyncio.run_coroutine_threadsafe(work(), self.app.loop).result(30)


@pytest.fixture(scope="module")
def module_shop(bare_settings: Settings, postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    own = with_variables(
        bare_settings,
        {
            "CHATS_DB_URL": SecretStr(postgres),
            "CHATS_TABLE": f"t_{uuid.uuid4().hex[:12]}.chats",
            "DATA_PATH": str(tmp_path_factory.mktemp("shop")),
        },
    )
    titles = {"code": {"title": "Our code"}, "notes": {"title": "Заметки и notes"}}
    own._file = ConfigFile.model_validate({"retrieval": {"k": 7, "collections": titles}})
    engine, embedder = ScriptedEngine(context_tokens=200_000), WordEmbedder()
    with serving(own, Engines([Served(engine), Served(embedder, task="embed")])) as app:
        yield Shop(app, engine, embedder)


@pytest.fixture
def shop(module_shop: Shop) -> Shop:
    """The module's, without a collection, whatever the last test made."""
    module_shop.engine.script = Script(pieces(ANSWER))
    module_shop.embedder.names = ("scripted-embedder",)
    module_shop.drop()
    return module_shop


@pytest.fixture
def filled(shop: Shop) -> Shop:
    shop.fill("code", {"fruit.py": (CODE, Origin(COMMIT, "github.com/team/project", "lib/fruit.py"))})
    shop.fill("notes", {"docs/fruit.md": (NOTES, Origin())})
    shop.fill("bad", {BAD_PATH: (BAD_TEXT, Origin())})
    return shop


def choose(page: Page, *titles: str) -> None:
    page.locator("#drawn-open").click()
    sheet = page.get_by_role("dialog", name="Settings of the chat")
    for title in titles:
        sheet.get_by_role("checkbox", name=title).check()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()


def sources(page: Page) -> Locator:
    return page.locator(".sources li")


def kept(page: Page) -> dict[str, Any]:
    """As the server has the chat."""
    found: dict[str, Any] = page.evaluate(
        "fetch(`/api/v1/chat/${location.hash.slice(1)}/history`, {headers: {'X-Kodify-Page': '1'}})"
        ".then((answer) => answer.json())"
    )
    return found


def test_where_there_is_no_collection_nothing_is_seen_of_them(visits: Visits, shop: Shop) -> None:
    page = visits.open(shop.url)
    expect(page.locator("#model option")).to_have_text(["scripted"])  # what embeds does not chat
    page.wait_for_load_state("networkidle")
    expect(page.locator("#drawn")).to_be_hidden()
    page.locator("#settings-open").click()
    expect(page.get_by_label("System prompt")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#collections")).to_be_hidden()
    page.keyboard.press("Escape")
    ask(page, "Hello")
    finished(page)
    expect(page.locator(".sources")).to_be_hidden()


def test_an_answer_tells_its_sources(visits: Visits, filled: Shop) -> None:
    context = visits.context()
    page = visits.open(filled.url, context)
    expect(page.locator("#drawn-open")).to_have_text("Documents")
    choose(page, "Our code", "Заметки")
    expect(page.locator("#drawn-open")).to_have_text("Our code +1")
    expect(page.locator("#drawn-open")).to_have_accessible_name(
        "Answers are drawn from Our code, Заметки и notes. Change"
    )
    ask(page, "When are pears sweet?")
    finished(page)
    second = visits.open(page.url, context)
    for each in (page, second, page):
        expect(sources(each)).to_have_count(3)
        linked = sources(each).filter(has_text="fruit.py")
        expect(linked.get_by_role("link", name="fruit.py")).to_have_attribute("href", LINKED)
        expect(linked.get_by_role("link", name="fruit.py")).to_have_attribute("rel", "noopener noreferrer")
        expect(linked.locator("small span")).to_have_text(["lines 1–2", "pears", "Our code"])
        found = sources(each).filter(has_text="Fruit > Pears")
        expect(found.locator("small span")).to_have_text(["lines 3–5", "Fruit > Pears", "Заметки и notes"])
        expect(sources(each).locator("i")).to_have_text(["1", "2", "3"])
        opener = found.get_by_role("button", name="docs/fruit.md")
        opener.click()
        expect(found.get_by_role("region", name="Found in docs/fruit.md")).to_have_text(
            "## Pears\n\nPears are sweet in October."
        )
        expect(opener).to_have_attribute("aria-expanded", "true")
        opener.press("Enter")
        expect(found.locator("pre")).to_have_count(0)
        linked.get_by_role("button", name="The text of fruit.py that was found").click()
        expect(linked.locator("pre")).to_have_text(CODE.rstrip())
        expect(each.locator("#drawn-open")).to_contain_text("Our code +1")
        visits.shoot(each, "sources")
        each.reload()
    prompt = filled.engine.jobs[-1].prompts[0].text or ""
    for number, path in enumerate(sources(page).locator("b").all_inner_texts(), 1):
        assert f"Passage {number}: {path}, lines " in prompt
    assert kept(page)["settings"]["retrieval"]["collection"] == ["code", "notes"]


def test_sources_come_before_the_answer_and_in_all_tabs(visits: Visits, filled: Shop) -> None:
    context = visits.context()
    page = visits.open(filled.url, context)
    choose(page, "Our code")
    filled.engine.script = Script(endless=True, pause_s=0.02)
    ask(page, "When are pears sweet?")
    expect(page.locator(".message.generating .sources li")).to_have_count(1)
    second = visits.open(page.url, context)
    expect(second.locator(".message.generating .sources li")).to_have_count(1)
    second.get_by_role("button", name="The text of fruit.py that was found").click()
    page.get_by_role("button", name="Stop").click()
    for each in (page, second):
        finished(each)
        expect(sources(each)).to_have_count(1)
    expect(second.locator(".sources pre")).to_have_text(CODE.rstrip())  # it stays open
    filled.engine.script = Script(["Another"])
    second.get_by_role("button", name="Answer again").click()
    for each in (page, second):
        expect(answers(each)).to_have_text("Another")
        expect(sources(each)).to_have_count(1)


def test_the_choice_is_dropped_with_one_click(visits: Visits, filled: Shop) -> None:
    page = visits.open(filled.url)
    choose(page, "Our code")
    ask(page, "When are pears sweet?")
    finished(page)
    page.get_by_role("button", name="Answer without them").click()
    expect(page.locator("#question")).to_be_focused()
    expect(page.locator("#drawn-open")).to_have_text("Documents")
    expect(page.get_by_role("status").filter(has_text="no documents now")).to_be_attached()
    eventually(lambda: kept(page)["settings"]["retrieval"] is None)
    ask(page, "And plums?")
    finished(page, 2)
    expect(sources(page)).to_have_count(1)
    page.reload()
    expect(page.locator(".message.assistant")).to_have_count(2)
    expect(sources(page)).to_have_count(1)
    expect(page.locator("#drawn-open")).to_have_text("Documents")


def test_the_next_chat_begins_with_the_choice_and_an_older_one_has_its_own(visits: Visits, filled: Shop) -> None:
    page = visits.open(filled.url)
    ask(page, "Without any")
    finished(page)
    choose(page, "Our code")
    eventually(lambda: kept(page)["settings"]["retrieval"] is not None)
    page.keyboard.press("Control+Shift+O")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator("#drawn-open")).to_have_text("Our code")
    page.locator("#drawn-drop").click()
    expect(page.locator("#drawn-open")).to_have_text("Documents")
    page.get_by_role("link", name="Without any").click()
    expect(page.locator("#drawn-open")).to_have_text("Our code")
    filled.drop("code")
    page.reload()
    expect(page.locator("#drawn")).to_have_class("drawn set lost")
    page.locator("#drawn-open").click()
    expect(page.locator("#collections .lost")).to_contain_text("can't be searched any more")
    page.get_by_role("button", name="Back to defaults").click()
    page.keyboard.press("Escape")
    expect(page.locator("#drawn-open")).to_have_text("Documents")
    eventually(lambda: kept(page)["settings"]["retrieval"] is None)


def test_the_next_chat_does_not_begin_with_what_is_gone(visits: Visits, filled: Shop) -> None:
    page = visits.open(filled.url)
    choose(page, "Our code", "Заметки")
    filled.drop("code")
    page.reload()
    expect(page.locator("#drawn-open")).to_have_text("Заметки и notes")
    notice = page.locator(".notice").filter(has_text="Can't be searched any more: code.")
    expect(notice).to_be_visible()
    page.reload()
    expect(page.locator("#drawn-open")).to_have_text("Заметки и notes")
    expect(notice).to_have_count(0)  # told once


def test_a_collection_that_is_gone_is_told_and_the_chat_goes_on(visits: Visits, filled: Shop) -> None:
    page = visits.open(filled.url)
    choose(page, "Our code", "Заметки")
    filled.drop("code")
    ask(page, "When are pears sweet?")  # in a chat that has not begun
    notice = page.get_by_role("alert").filter(has_text="Can't be searched any more: Our code.")
    expect(notice).to_be_visible()
    expect(page.locator("#question")).to_have_value("When are pears sweet?")
    visits.shoot(page, "gone")
    notice.get_by_role("button", name="Go on without").click()
    finished(page)
    expect(sources(page)).to_have_count(2)
    expect(page.locator("#drawn-open")).to_have_text("Заметки и notes")
    filled.embedder.names = ("another-model",)  # the collection was made for the one before
    page.get_by_role("button", name="Answer again").click()
    notice = page.get_by_role("alert").filter(has_text="Can't be searched any more: Заметки и notes.")
    notice.get_by_role("button", name="Go on without").click()
    expect(page.locator(".sources")).to_be_hidden()
    finished(page)
    assert kept(page)["settings"]["retrieval"] is None
    page.reload()
    finished(page)
    expect(page.locator("#drawn")).to_be_hidden()


def test_where_nothing_is_found_it_says_so(visits: Visits, filled: Shop) -> None:
    filled.fill("empty", {})
    page = visits.open(filled.url)
    choose(page, "empty")
    ask(page, "When are pears sweet?")
    finished(page)
    expect(page.locator(".sources")).to_have_text("Nothing was found in the documents for this question.")


def test_hostile_sources_are_only_text(visits: Visits, filled: Shop, tmp_path: Path) -> None:
    page = visits.open(filled.url)
    choose(page, "bad")
    ask(page, "Are kumquats sour?")
    finished(page)
    for _ in range(2):
        opener = sources(page).get_by_role("button", name=BAD_PATH)
        expect(opener).to_be_visible()
        opener.click()
        expect(page.locator(".sources pre")).to_contain_text("</pre><img src=x onerror=alert(5)> kumquats are sour")
        expect(sources(page).locator("small")).to_contain_text("<script>alert(3)</script>")
        assert page.evaluate(TRACES) == {"elements": 0, "handlers": 0, "links": [], "outside": 0}
        page.reload()
    markdown = saved(page, "Markdown", tmp_path)
    html = page.evaluate(
        "(markdown) => fetch('/api/v1/render', {method: 'POST', body: JSON.stringify({markdown}),"
        " headers: {'X-Kodify-Page': '1', 'Content-Type': 'application/json'}})"
        ".then((answer) => answer.json()).then(({html}) => html)",
        markdown,
    )
    assert html.count("href=") == 1 and 'href="https://example.com"' in html
    assert "&lt;script&gt;alert(3)" in html and "&lt;img src=x onerror=alert(1)&gt;](javascript:alert(2))" in html


def test_a_link_of_another_kind_is_none(visits: Visits, filled: Shop) -> None:
    """Whatever a server says."""
    page = visits.open(filled.url)
    choose(page, "Our code")
    page.route("**/history?render=html", lambda route: route.fulfill(json=with_urls(route.fetch().json())))
    ask(page, "When are pears sweet?")
    finished(page)
    page.reload()
    expect(sources(page).get_by_role("button", name="fruit.py")).to_be_visible()
    expect(sources(page).locator("a")).to_have_count(0)


def with_urls(history: dict[str, Any]) -> dict[str, Any]:
    for message in history["messages"]:
        for source in message.get("sources", []):
            source["url"] = "javascript:alert(1)"
    return history


def test_long_names_stay_on_a_phone(visits: Visits, shop: Shop) -> None:
    long = "a_very_long_name_" * 12
    shop.fill("x" * 100, {f"{long}/{long}.py": (f"def {long}():\n    return 'pears'  # {long}\n", Origin())})
    page = visits.open(shop.url, **{**PHONE, "viewport": {"width": 320, "height": 640}})
    choose(page, "x" * 100)
    ask(page, "Which pears?")
    finished(page)
    sources(page).get_by_role("button").first.click()
    expect(page.locator(".sources pre")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('#scroll'))"
    )
    for button in ("#attach", "#settings-open", "#send", "#drawn-open", "#drawn-drop"):
        expect(page.locator(button)).to_be_in_viewport(ratio=1)


def test_many_sources_are_a_few_at_first(visits: Visits, shop: Shop) -> None:
    shop.fill("code", {f"lib/n{number}.py": (f"pears = {number}\n", Origin()) for number in range(7)})
    page = visits.open(shop.url)
    choose(page, "Our code")
    ask(page, "Which pears?")
    finished(page)
    expect(sources(page)).to_have_count(5)
    page.get_by_role("button", name="2 more").click()
    expect(sources(page)).to_have_count(7)
    expect(sources(page).nth(5).get_by_role("button")).to_be_focused()


def saved(page: Page, kind: str, folder: Path) -> str:
    page.get_by_role("button", name="About this chat").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=f"Save as {kind}").click()
    download.value.save_as(path := folder / download.value.suggested_filename)
    return path.read_text(encoding="utf-8")


def test_sources_are_in_what_is_saved(visits: Visits, filled: Shop, tmp_path: Path) -> None:
    page = visits.open(filled.url)
    choose(page, "Our code", "Заметки")
    ask(page, "When are pears sweet?")
    finished(page)
    markdown = saved(page, "Markdown", tmp_path)
    assert f"{ANSWER}\n\n**Sources**\n\n1. " in markdown
    assert f". [`fruit.py`](<{LINKED}>) · lines 1–2 · pears · Our code\n" in markdown
    assert ". `docs/fruit.md` · lines 3–5 · Fruit \\> Pears · Заметки и notes\n" in markdown
    told = json.loads(saved(page, "JSON", tmp_path))["messages"][1]["sources"]
    assert {(one["path"], one["url"]) for one in told} == {("fruit.py", LINKED), ("docs/fruit.md", None)}
    assert CODE.rstrip() in [one["text"].rstrip() for one in told]


@pytest.mark.parametrize("locale", ["en-US", "ru-RU"])
@pytest.mark.parametrize(
    "options", [{"color_scheme": "light"}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"]
)
def test_axe_finds_nothing_serious_in_the_choice_and_the_sources(
    visits: Visits, filled: Shop, locale: str, options: dict[str, Any]
) -> None:
    page = visits.open(filled.url, locale=locale, bypass_csp=True, **options)
    page.locator("#drawn-open").click()
    page.locator("#collections input").nth(1).check()
    page.locator("#collections input").nth(2).check()
    found = serious(page)
    visits.shoot(page, "choice")
    page.keyboard.press("Escape")
    ask(page, "When are pears sweet?")
    finished(page)
    page.locator(".sources [aria-expanded]").first.click()
    expect(page.locator(".sources pre")).to_be_visible()
    found += serious(page)
    filled.drop("notes")
    page.reload()
    expect(page.locator("#drawn.lost")).to_be_visible()
    found += serious(page)
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_all_of_it_by_keyboard_and_in_russian(visits: Visits, filled: Shop) -> None:
    page = visits.open(filled.url, locale="ru-RU")
    expect(page.locator("#drawn-open")).to_have_accessible_name("Выбрать документы и код для ответов")
    page.locator("#settings-open").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    field = page.get_by_role("group", name="Документы и код")
    expect(field.get_by_role("checkbox").first).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    expect(page.locator("#drawn-open")).to_have_text("Our code")
    expect(page.locator("#drawn-open")).to_be_focused()
    page.locator("#question").focus()
    ask(page, "When are pears sweet?")
    finished(page)
    expect(page.get_by_role("region", name="Источники")).to_contain_text("строки 1–2")
    page.get_by_role("button", name="Найденный текст из fruit.py").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Найдено в fruit.py")).to_be_visible()
    page.get_by_role("button", name="English").first.click()
    expect(page.get_by_role("region", name="Sources")).to_contain_text("lines 1–2")
    expect(page.get_by_role("region", name="Found in fruit.py")).to_be_visible()
    page.get_by_role("button", name="Answer without them").press("Enter")
    expect(page.locator("#drawn-open")).to_have_text("Documents")
