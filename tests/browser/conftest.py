"""One browser for all of these tests; apps on the scripted engine, and pages that are watched."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright
from pydantic import SecretStr

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.settings import Settings
from tests.auth.test_users import Company, found_company
from tests.browser.watching import Visits
from tests.conftest import Served, eventually, serving

PATIENCE_MS = 20_000  # others may use the machine too
CHROMIUM = Path("/usr/bin/chromium")
SHOTS = Path(__file__).parent / "shots"


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Ends with these tests: while it lives, no other test's event loop can run in this thread."""
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is missing: install Debian's package chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
    yield started
    started.close()


@pytest.fixture
def visits(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visits]:
    """visits.open(url, …): pages; at the end nothing that should not happen may have happened in them."""
    found = Visits(browser, SHOTS, re.sub(r"\W+", "_", request.node.name).strip("_"))
    yield found
    found.close()
    assert found.problems == []


@pytest.fixture(scope="package")
def bare_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The defaults: nothing of this machine's environment, .env or data gets in."""
    with pytest.MonkeyPatch.context() as patch:
        for field in Settings.model_fields.values():
            if field.alias:
                patch.delenv(field.alias, raising=False)
        yield Settings(_env_file=None, DATA_PATH=str(tmp_path_factory.mktemp("data")))


def with_variables(settings: Settings, variables: dict[str, Any]) -> Settings:
    given = {field.alias: name for name, field in Settings.model_fields.items() if field.alias}
    return settings.model_copy(update={given[name]: value for name, value in variables.items()})


@dataclass(frozen=True)
class Site:
    """An app whose engine says what its script says."""

    url: str
    engine: ScriptedEngine


@contextlib.contextmanager
def open_site(settings: Settings, **variables: Any) -> Iterator[Site]:
    engine = ScriptedEngine(context_tokens=200_000)
    with serving(with_variables(settings, variables), engine) as served:
        yield Site(served.url, engine)


@pytest.fixture(scope="module")
def module_site(bare_settings: Settings, postgres: str) -> Iterator[Site]:
    """Without users: whoever comes may ask."""
    table = f"t_{uuid.uuid4().hex[:12]}.chats"
    with open_site(bare_settings, CHATS_DB_URL=SecretStr(postgres), CHATS_TABLE=table) as found:
        yield found


@pytest.fixture
def site(module_site: Site) -> Site:
    """The module's, with the usual script again, whatever the last test made it say."""
    module_site.engine.script = Script()
    return module_site


def is_up(page: Page) -> None:
    """Waits until the page knows who uses it and which models there are: it shows what it knows then, and what was
    typed before may be lost."""
    expect(page.locator("#model option").first).to_be_attached()


def ask(page: Page, text: str) -> None:
    """A person types a message and sends it."""
    is_up(page)
    page.locator("#question").fill(text)
    expect(page.locator("#send")).to_be_enabled()  # it is there, and not at work on another one
    page.keyboard.press("Enter")


def is_copied(page: Page, text: str) -> None:
    """Waits until the clipboard has it: a browser writes there in its own time."""
    eventually(lambda: page.evaluate("navigator.clipboard.readText()") == text)


@contextlib.contextmanager
def found_site(bare: Settings, postgres: str, **variables: Any) -> Iterator[Company]:
    """A server with users, and one administrator, in a schema of its own."""
    users = {
        "MTSAI_AUTH": True,
        "AUTH_TYPE": "DB",
        "DB_URL": SecretStr(postgres),
        "USERS_TABLE": f"t_{uuid.uuid4().hex[:12]}.people",
    }
    with contextlib.ExitStack() as stack:

        def start(**given: Any) -> Served:
            return stack.enter_context(serving(with_variables(bare, given), ScriptedEngine()))

        yield found_company(start, {**users, **variables})
