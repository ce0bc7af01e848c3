"""A person chats: answers as they come, stop, reload, two tabs, changes, expiry, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from pydantic import SecretStr

from kodify.engine.scripted import Script
from kodify.errors import UnavailableError
from kodify.settings import Settings
from tests.browser.conftest import Site, ask, is_copied, is_up, open_site
from tests.browser.watching import Visits
from tests.conftest import eventually

ANSWER = """Here is a **function**:

```python
def twice(number: int) -> int:
    return 2 * number
```

| in | out |
|---:|----:|
| 2  | 4   |
"""
CODE = "def twice(number: int) -> int:\n    return 2 * number\n"


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def said(page: Page) -> Locator:
    return page.locator(".message.user .said")


def answers(page: Page) -> Locator:
    return page.locator(".message.assistant .text")


def finished(page: Page, count: int = 1) -> None:
    expect(page.locator(".message.assistant:not(.generating)")).to_have_count(count)
    expect(page.locator("#composer")).not_to_contain_class("busy")  # until then it takes no other wish


def test_an_answer_comes_is_kept_and_can_be_copied(visits: Visits, site: Site) -> None:
    site.engine.script = Script(pieces(ANSWER), pause_s=0.05)
    context = visits.context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visits.open(site.url, context)
    ask(page, "Twice, please")
    expect(said(page)).to_have_text("Twice, please")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    finished(page)
    expect(page.get_by_role("status").filter(has_text="The answer is complete")).to_be_attached()
    for _ in range(2):
        expect(answers(page).locator("strong")).to_have_text("function")
        expect(answers(page).locator(".code .k").first).to_have_text("def")
        expect(answers(page).locator("td").last).to_have_text("4")
        expect(page.locator(".message.assistant header")).to_contain_text("scripted")
        expect(page.locator("#chats .current .name")).to_have_text("Twice, please")
        expect(page.locator("#title")).to_have_text("Twice, please")
        expect(page.locator("#expiry")).to_contain_text("Deleted in 2")  # 23 or 24 hours
        page.get_by_role("button", name="Copy the code").click()
        is_copied(page, CODE)
        page.get_by_role("button", name="Copy the answer").click()
        is_copied(page, ANSWER)
        visits.shoot(page, "whole")
        page.reload()
        expect(said(page)).to_have_text("Twice, please")


def test_it_stops_where_it_is_told_to(visits: Visits, site: Site) -> None:
    site.engine.script, cancelled = Script(endless=True, pause_s=0.01), site.engine.cancelled
    page = visits.open(site.url)
    ways: list[Callable[[], None]] = [
        lambda: page.get_by_role("button", name="Stop").click(),
        lambda: page.keyboard.press("Escape"),
    ]
    for number, stop in enumerate(ways, 1):
        ask(page, "Go on")
        expect(page.locator(".generating .text")).to_contain_text("on and on and on")
        stop()
        finished(page, number)
        expect(page.locator(".fault.mild")).to_have_count(number)
        eventually(lambda number=number: site.engine.cancelled == cancelled + number)  # type: ignore[misc]
        expect(page.locator("#question")).to_be_focused()
    text = answers(page).last.inner_text()
    page.reload()
    expect(answers(page).last).to_have_text(text)
    expect(page.locator(".fault.mild").last).to_have_text("Stopped")


def test_two_tabs_follow_one_chat(visits: Visits, site: Site) -> None:
    site.engine.script = Script(pieces("One, two, three, four, five, six. " * 8), pause_s=0.02)
    context = visits.context()
    first = visits.open(site.url, context)
    ask(first, "Count")
    expect(answers(first)).to_contain_text("three")
    second = visits.open(first.url, context)
    expect(answers(second)).to_contain_text("One, two")
    for page in (first, second):
        finished(page)
    expect(answers(second)).to_have_text(answers(first).inner_text(), use_inner_text=True)
    site.engine.script = Script(["Once more"])
    ask(second, "Again")
    for page in (first, second):
        expect(said(page)).to_have_text(["Count", "Again"])
        expect(answers(page).last).to_have_text("Once more")
        finished(page, 2)
    site.engine.script = Script(["Another start"])
    first.keyboard.press("ArrowUp")  # the last message
    first.locator(".message.user").first.hover()
    first.get_by_role("button", name="Edit and send again").first.click()
    expect(first.locator("#question")).to_have_value("Count")
    first.locator("#question").fill("Begin")
    first.keyboard.press("Enter")
    for page in (first, second):
        expect(said(page)).to_have_text(["Begin"])
        expect(answers(page)).to_have_text(["Another start"])
        finished(page)
    site.engine.script = Script(["A better one"])
    second.get_by_role("button", name="Answer again").click()
    for page in (first, second):
        expect(answers(page)).to_have_text(["A better one"])
    first.keyboard.press("Escape")
    second.get_by_role("button", name="About this chat").click()
    second.get_by_role("menuitem", name="Delete").click()
    visits.shoot(second, "deleting")
    second.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(second.locator("#empty")).to_be_visible()
    expect(first.get_by_role("heading", name="This chat is no longer here")).to_be_visible()
    for page in (first, second):
        expect(page.locator("#chats li").filter(has_text="Count")).to_have_count(0)


def test_conversations_are_listed_renamed_and_chosen(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    expect(page.locator("#no-chats")).to_be_visible()
    for text in ("The first chat", "The second chat"):
        page.keyboard.press("Control+Shift+O")
        expect(page.locator("#empty")).to_be_visible()
        ask(page, text)
        finished(page)
    expect(page.locator("#chats .name")).to_have_text(["The second chat", "The first chat"])
    page.locator("#question").fill("half a thought")
    page.get_by_role("link", name="The first chat").click()
    expect(said(page)).to_have_text("The first chat")
    expect(page.locator("#question")).to_have_value("")
    page.go_back()
    expect(said(page)).to_have_text("The second chat")
    expect(page.locator("#question")).to_have_value("half a thought")
    page.get_by_role("button", name="More: The first chat").click()
    page.get_by_role("menuitem", name="Rename").click()
    expect(page.locator("#chats input")).to_be_focused()
    page.keyboard.type("Renamed <b>here</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#chats .name")).to_have_text(["The second chat", "Renamed <b>here</b>"])
    page.reload()
    expect(page.locator("#chats .name").last).to_have_text("Renamed <b>here</b>")


def test_a_chat_is_saved_as_markdown_and_json(visits: Visits, site: Site, tmp_path: Path) -> None:
    site.engine.script = Script(pieces(ANSWER))
    page = visits.open(site.url)
    ask(page, "Twice, please")
    finished(page)
    saved = {}
    for kind in ("Markdown", "JSON"):
        page.get_by_role("button", name="About this chat").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=f"Save as {kind}").click()
        download.value.save_as(path := tmp_path / download.value.suggested_filename)
        saved[path.name] = path.read_text(encoding="utf-8")
    assert list(saved) == ["twice-please.md", "twice-please.json"]
    markdown = saved["twice-please.md"]
    assert markdown.startswith("# Twice, please\n")
    assert f"## You\n\nTwice, please\n\n## Kodify\n\n{ANSWER}" in markdown
    assert [one["content"] for one in json.loads(saved["twice-please.json"])["messages"]] == ["Twice, please", ANSWER]


def test_how_it_answers_is_chosen_kept_and_changed(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    is_up(page)
    page.get_by_label("Answers for").select_option("professional")
    page.get_by_role("button", name="Settings of the chat").click()
    page.get_by_label("System prompt").fill("Speak like a lighthouse keeper.")
    page.get_by_label("Temperature").focus()
    page.keyboard.press("ArrowLeft")
    page.get_by_label("Longest answer, in tokens").fill("77")
    expect(page.locator("output[for=temperature]")).to_have_text("0.95")
    expect(page.locator("output[for=top_p]")).to_have_text("model's default")
    visits.shoot(page, "settings")
    page.get_by_role("button", name="Done").click()
    ask(page, "Hello")
    finished(page)
    prompt = site.engine.jobs[-1].prompts[0].text or ""
    assert "Speak like a lighthouse keeper." in prompt and "expert" in prompt

    def settings() -> dict[str, object]:
        found: dict[str, object] = page.evaluate(
            "fetch(`/api/v1/chat/${location.hash.slice(1)}/history`, {headers: {'X-Kodify-Page': '1'}})"
            ".then((answer) => answer.json()).then((history) => history.settings)"
        )
        return found

    wanted = {"model": "scripted", "level": "professional", "system": "Speak like a lighthouse keeper."}
    assert settings() == {**wanted, "temperature": 0.95, "top_p": None, "max_tokens": 77, "retrieval": None}
    page.get_by_label("Answers for").select_option("beginner")
    page.get_by_role("button", name="Settings of the chat").click()
    page.get_by_role("button", name="Back to defaults").click()
    page.keyboard.press("Escape")
    plain = dict.fromkeys(("system", "temperature", "top_p", "max_tokens", "retrieval"))
    eventually(lambda: settings() == {"model": "scripted", "level": "beginner"} | plain)
    page.reload()
    expect(page.get_by_label("Answers for")).to_have_value("beginner")


@pytest.fixture(scope="module")
def hasty(bare_settings: Settings, postgres: str) -> Iterator[Site]:
    """Chats live eight seconds."""
    variables = {"CHATS_DB_URL": SecretStr(postgres), "CHATS_TABLE": "hasty.chats", "CHAT_HOURS": 8 / 3600}
    with open_site(bare_settings, **variables) as found:
        yield found


def test_an_expired_chat_goes_from_the_page(visits: Visits, hasty: Site) -> None:
    visits.expect("WebSocket connection to")  # of a chat that is gone
    page = visits.open(hasty.url)
    ask(page, "Not for long")
    finished(page)
    address = page.url
    expect(page.get_by_role("heading", name="This chat is no longer here")).to_be_visible(timeout=30_000)
    expect(page.locator("#chats li")).to_have_count(0)
    assert "Not for long" not in page.locator("#main").inner_text()
    page.get_by_role("main").get_by_role("button", name="New chat").click()
    expect(page.locator("#empty")).to_be_visible()
    page.goto(address)
    expect(page.get_by_role("heading", name="This chat is no longer here")).to_be_visible()


def test_what_can_not_be_sent_stays_with_the_reason(visits: Visits, site: Site) -> None:
    site.engine.script = Script(error_on_submit=UnavailableError("Too much waits for the model.", retry_after_s=7))
    page = visits.open(site.url)
    ask(page, "Is there room?")
    fault = page.locator(".fault, .notice.bad")
    expect(fault).to_contain_text("Too much waits for the model.")
    site.engine.script = Script(["There is"])
    page.get_by_role("button", name=re.compile("Answer again|Try again")).last.click()
    expect(answers(page).last).to_have_text("There is")


def test_an_error_in_an_answer_keeps_what_was_said(visits: Visits, site: Site) -> None:
    site.engine.script = Script(["Half an ", "answer", ""], error=RuntimeError("a secret of the house"))
    page = visits.open(site.url)
    ask(page, "A whole one, please")
    finished(page)
    for _ in range(2):
        expect(answers(page)).to_contain_text("Half an answer")
        expect(page.locator(".fault")).to_be_visible()
        assert "secret" not in page.locator("#main").inner_text()
        page.reload()


def test_keys_and_examples(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    is_up(page)
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#question")).to_have_value("one\ntwo")
    page.keyboard.press("Enter")
    finished(page)
    expect(said(page)).to_have_text("one\ntwo", use_inner_text=True)
    page.keyboard.press("ArrowUp")
    expect(page.locator("#question")).to_have_value("one\ntwo")
    expect(page.locator("#editing")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#question")).to_have_value("")
    expect(page.locator("#editing")).to_be_hidden()
    page.keyboard.press("Control+b")
    expect(page.locator("#side")).to_be_hidden()
    page.keyboard.press("Control+b")
    expect(page.locator("#side")).to_be_visible()
    page.locator("#title").click()
    page.locator("#scroll").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    visits.shoot(page, "shortcuts")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.get_by_role("button", name="New chat").first.click()
    page.get_by_role("button", name="Explain a regular expression").click()
    expect(said(page)).to_contain_text("Explain this regular expression step by step")
    finished(page)
