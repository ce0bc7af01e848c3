"""Pages in a real browser, and what must not happen in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, WebSocket

# The page's own way to tell what it could not get; what a test does on purpose.
EXPECTED = ("Failed to load resource: the server responded with a status of",)
# The same of a socket, where the database is slow on a crowded machine: the page comes back.
UNAVAILABLE = ("WebSocket connection to", "Unexpected response code: 503")
TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`POLICY ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


class Visits:
    """Contexts and pages of one test. `problems`: scripts' errors, dialogs, violations of the content security policy,
    requests to other hosts. A picture of each page is kept when it is closed."""

    def __init__(self, browser: Browser, shots: Path, name: str) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._browser = browser
        self._shots = shots
        self._name = name
        self._contexts: list[BrowserContext] = []
        self._pages: list[Page] = []
        self._expected = list(EXPECTED)
        self._hosts: set[str] = set()

    def expect_host(self, url: str) -> None:
        """Another host that the test leads to."""
        self._hosts.add(urlsplit(url).netloc)

    def expect(self, *beginnings: str) -> None:
        """Messages of the console that this test provokes."""
        self._expected.extend(beginnings)

    def context(self, **options: Any) -> BrowserContext:
        # What rises into view is measured when it is there: half faded in, axe finds its contrast too low.
        usual = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", "reduced_motion": "reduce"}
        options = {**usual, **options}
        made = self._browser.new_context(**options)
        made.set_default_timeout(20_000)
        made.add_init_script(TELL_VIOLATIONS)
        self._contexts.append(made)
        return made

    def open(self, url: str, context: BrowserContext | None = None, **options: Any) -> Page:
        """A page of a context, or of a new one."""
        page = (context or self.context(**options)).new_page()
        self._pages.append(page)
        home = urlsplit(url).netloc

        def is_ours() -> bool:
            """Not where a test has led to, such as a provider of single sign-on."""
            return urlsplit(page.url).netloc in ("", home)

        def watch(address: str) -> None:
            self.requests.append(address)
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https", "ws", "wss") or not is_ours():
                return
            if parts.netloc not in {home, *self._hosts}:
                self.problems.append(f"a request to {address}")

        def ask(request: Request) -> None:
            watch(request.url)

        def connect(socket: WebSocket) -> None:
            watch(socket.url)

        def refuse(dialog: Dialog) -> None:
            self.problems.append(f"a dialog: {dialog.message}")
            dialog.dismiss()

        def tell(message: ConsoleMessage) -> None:
            if (
                message.type in ("error", "warning")
                and is_ours()
                and not message.text.startswith(tuple(self._expected))
                and not (message.text.startswith(UNAVAILABLE[0]) and message.text.endswith(UNAVAILABLE[1]))
            ):
                self.problems.append(f"{message.type}: {message.text}")

        page.on("request", ask)
        page.on("websocket", connect)
        page.on("console", tell)
        page.on("pageerror", lambda error: self.problems.append(f"an error: {error}"))
        page.on("dialog", refuse)
        page.goto(url)
        return page

    def shoot(self, page: Page, name: str = "") -> Path:
        """A picture, kept for people."""
        self._shots.mkdir(exist_ok=True)
        path = self._shots / f"{self._name}{'_' if name else ''}{name}.png"
        page.screenshot(path=path, animations="disabled")
        return path

    def close(self) -> None:
        for number, page in enumerate(self._pages):
            if not page.is_closed():
                self.shoot(page, str(number) if number else "")
        for context in self._contexts:
            context.close()
