"""Long answers and lost connections."""

from __future__ import annotations

import itertools

from playwright.sync_api import WebSocketRoute, expect

from kodify.engine.scripted import Script
from tests.browser.conftest import Site, ask
from tests.browser.test_chat import pieces, said
from tests.browser.watching import Visits
from tests.conftest import eventually

TOKENS = 20_000
PARAGRAPH = "A word and `code` and **more** of it. "
SECTION = (
    "## A heading\n\n" + PARAGRAPH * 6 + "\n\n```python\ndef add(a, b):\n    return a + b\n```\n\n- one\n- two\n\n"
)

WATCH = """() => {
  window.gaps = [];
  let last = performance.now();
  const frame = (now) => { window.gaps.push(now - last); last = now; window.watching = requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  window.kept = new Set();
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.removedNodes) {
      if (change.target.closest?.(".settled")) window.kept.add(node.nodeName);
    }
  }).observe(document.querySelector("#thread"), {childList: true, subtree: true});
}"""

# Where it is scrolled to, when a second has passed without a change: a wheel turns on for a while.
SETTLED = """async () => {
  const area = document.querySelector("#scroll");
  let top = area.scrollTop;
  for (let still = 0; still < 10; still += 1) {
    await new Promise((done) => setTimeout(done, 100));
    if (area.scrollTop !== top) still = 0;
    top = area.scrollTop;
  }
  return top;
}"""

BELOW = """() => {
  const area = document.querySelector("#scroll");
  return area.scrollHeight - area.scrollTop - area.clientHeight;
}"""


# The connection is lost for half a second: too short a time for one who looks now and then.
HEAR = """() => {
  window.told = [];
  const place = document.querySelector("#connection");
  new MutationObserver(() => place.hidden || window.told.push(place.textContent)).observe(
    place, {attributes: true, childList: true});
}"""


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_the_page_stays_responsive_while_20_000_tokens_stream(visits: Visits, site: Site) -> None:
    """Nothing that is settled is touched again, so the last tokens cost what the first did. What the page costs is
    counted in its thread's own time, for others use this machine too."""
    text = SECTION * (1 + TOKENS * 4 // len(SECTION))
    tokens = pieces(text, 4)[:TOKENS]
    assert len(tokens) == TOKENS
    site.engine.script = Script(tokens, pause_s=0.0002)
    page = visits.open(site.url)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_s() -> float:
        return next(
            float(one["value"])
            for one in session.send("Performance.getMetrics")["metrics"]
            if one["name"] == "TaskDuration"
        )

    page.evaluate(WATCH)
    ask(page, "All of it")
    expect(page.locator(".generating .settled")).to_contain_text("A heading")
    page.locator("#question").click()
    costs: list[tuple[int, float]] = []  # headings on the page, and what it has cost by then
    typed = 0
    while page.locator(".generating").count():  # a person goes on working meanwhile
        page.keyboard.type("x")
        typed += 1
        costs.append((page.locator(".settled h2").count(), busy_s()))
    expect(page.locator("#question")).to_have_value("x" * typed)
    gaps: list[float] = page.evaluate("window.gaps.slice(5)")
    assert typed >= 10 and len(gaps) >= 30
    headings = len("".join(tokens).split("## A heading\n")) - 1
    middle = next(at for at, (count, _) in enumerate(costs) if count >= headings / 2)
    first, last = ((part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0]) for part in (costs[:middle], costs[middle:]))
    longest = [round(gap) for gap in sorted(gaps)[-3:]]
    print(
        f"{len(gaps)} frames, longest gaps {longest} ms; a section: {first * 1e3:.1f} ms at first, {last * 1e3:.1f} ms"
    )
    assert last <= 3 * first, "the longer the answer, the slower the page"
    assert median(gaps[-len(gaps) // 4 :]) <= 4 * median(gaps[: len(gaps) // 4])
    assert page.evaluate("[...window.kept]") == [], "what was settled has been made anew"
    expect(page.locator(".message.assistant .text h2")).to_have_count(headings)
    eventually(lambda: bool(page.evaluate(BELOW) < 50))


def test_who_scrolls_up_is_left_there(visits: Visits, site: Site) -> None:
    site.engine.script = Script(pieces(SECTION * 90, 8), pause_s=0.01)
    page = visits.open(site.url)
    ask(page, "A long one")
    expect(page.locator(".settled h2").nth(4)).to_be_attached()
    page.locator("#scroll").hover()
    page.mouse.wheel(0, -300)
    expect(page.get_by_role("button", name="To the latest message")).to_be_visible()
    top = page.evaluate(SETTLED)
    count = page.locator(".settled h2").count()
    expect(page.locator(".settled h2").nth(count + 2)).to_be_attached()
    assert abs(page.evaluate("document.querySelector('#scroll').scrollTop") - top) < 2
    page.get_by_role("button", name="To the latest message").click()
    expect(page.get_by_role("button", name="To the latest message")).to_be_hidden()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".fault.mild")).to_be_in_viewport()


def test_a_lost_connection_goes_on_where_it_was(visits: Visits, site: Site) -> None:
    text = "Числа 🦀 и слова. " + SECTION * 5 + "The end."
    site.engine.script = Script(pieces(text, 3), pause_s=0.01)
    sockets: list[WebSocketRoute] = []
    context = visits.context()

    def relay(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        server = socket.connect_to_server()
        told = itertools.count()

        def pass_on(message: str | bytes) -> None:
            if len(sockets) < 4 and next(told) == 20:
                server.close()
                socket.close(code=1012, reason="a restart")
            else:
                socket.send(message)

        server.on_message(pass_on)

    context.route_web_socket(lambda url: "/ws" in url, relay)
    page = visits.open(site.url, context)
    page.evaluate(HEAR)
    ask(page, "Count")
    expect(page.locator(".message.assistant:not(.generating)")).to_have_count(1, timeout=30_000)
    expect(page.locator("#connection")).to_be_hidden()
    assert set(page.evaluate("window.told")) == {"The connection is lost. Reconnecting…"}
    expect(said(page)).to_have_text("Count")
    assert len(sockets) >= 4
    assert "after=" not in sockets[0].url
    assert all("after=" in one.url for one in sockets[1:])
    shown = page.locator(".message.assistant .text").inner_text()
    page.reload()
    expect(page.locator(".message.assistant .text")).to_have_text(shown, use_inner_text=True)


def test_offline_is_said_and_passes(visits: Visits, site: Site) -> None:
    visits.expect("Failed to load resource: net::ERR_INTERNET_DISCONNECTED", "WebSocket connection to")
    context = visits.context()
    page = visits.open(site.url, context)
    expect(page.locator("#model option")).to_be_attached()
    context.set_offline(True)
    ask(page, "Is anybody there?")
    expect(page.locator(".notice.bad")).to_contain_text("You are offline.")
    expect(page.locator("#question")).to_have_value("Is anybody there?")
    context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".message.assistant .text")).to_have_text("Hello, world")


def test_code_looks_like_code_from_its_first_line_on(visits: Visits, site: Site) -> None:
    """Tokenizers part the mark of a block as they like."""
    site.engine.script = Script(("``", "`pyth", "on\n", "x = ", "1\n", *["y\n"] * 100), pause_s=0.2)
    page = visits.open(site.url)
    ask(page, "Some code, please")
    expect(page.locator(".tail.in-code")).to_contain_text("x = 1")
    expect(page.locator(".tail.in-code")).not_to_contain_text("``")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.assistant .code code")).to_contain_text("x = 1")
