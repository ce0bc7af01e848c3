"""Answers that mean harm: nothing but text may come of them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from kodify.engine.scripted import Script
from tests.browser.conftest import Site, ask, is_up
from tests.browser.test_chat import finished, pieces
from tests.browser.watching import Visits

ELEMENTS = """<script>document.title = "taken"</script>

<img src=x onerror="alert(1)"> <svg onload=alert(2)> <iframe src="https://evil.example.com/"></iframe>

<div style="position:fixed;inset:0" onclick="alert(3)">all of it</div> <form action="https://evil.example.com"><button>go</button></form>

<!-- <style>* {display: none}</style> --> <base href="https://evil.example.com/"> <link rel=stylesheet href=//evil.example.com/a.css>
"""  # noqa: E501
LINKS = """[one](javascript:alert(1)) [two](JaVaScRiPt:alert(1)) [three](data:text/html,<script>alert(1)</script>)
[four](vbscript:x) ![five](https://evil.example.com/pixel.png) ![six](javascript:alert(1)) <javascript:alert(1)>
[seven]( java\nscript:alert(1)) [eight](//evil.example.com) [nine](/admin) [ten](file:///etc/passwd)
"""
FENCES = """```html"><script>alert(1)</script>
<script>alert(2)</script>
```

````"onload="alert(1)
x
````

`<b>` $\\href{javascript:alert(1)}{x}$ \u202e\u0000\ufffe &lt;script&gt;alert(3)&lt;/script&gt;
</div></div></article></main>
"""
NESTED = ">" * 3000 + " deep\n\n" + "[" * 3000 + "x" + "](" * 3000 + "\n\n" + "- " * 3000 + "item\n\n" + "*_" * 3000
TABLE = "|" + " h |" * 200 + "\n|" + "---|" * 200 + "\n" + ("|" + "<b onclick=alert(1)> |" * 200 + "\n") * 200
LONG = "word <img src=x onerror=alert(1)> " * 30_000

TRACES = """() => ({
  elements: document.querySelectorAll("#thread :is(script, img, iframe, form, style, base, link, object, svg:not(.icon, [aria-hidden]))").length,
  handlers: [...document.querySelectorAll("#thread *")].filter((one) => [...one.attributes].some((each) => each.name.startsWith("on") || each.name === "style")).length,
  links: [...document.querySelectorAll("#thread a[href]")].map((one) => one.getAttribute("href")).filter((href) => !/^(https?:|mailto:)/.test(href)),
  outside: document.querySelectorAll("body > :not(.skip, .app, dialog, main, div, script, svg, noscript)").length,
})"""  # noqa: E501


@pytest.mark.parametrize(
    ("name", "answer", "shown"),
    [
        ("elements", ELEMENTS, "all of it"),
        ("links", LINKS, "two"),
        ("fences", FENCES, "alert(2)"),
        ("nested", NESTED, "[[[[["),
        ("table", TABLE, "onclick"),
        ("long", LONG, "onerror=alert(1)"),
    ],
)
def test_a_hostile_answer_is_only_text(visits: Visits, site: Site, name: str, answer: str, shown: str) -> None:
    site.engine.script = Script(pieces(answer, 1 + len(answer) // 400))
    page = visits.open(site.url)
    ask(page, f"Do your worst: {name}")
    for _ in range(2):
        expect(page.locator(".message.assistant:not(.generating)")).to_have_count(1, timeout=60_000)
        expect(page.locator(".message.assistant .text")).to_contain_text(shown)
        expect(page).to_have_title(f"Do your worst: {name} · Kodify")
        assert page.evaluate(TRACES) == {"elements": 0, "handlers": 0, "links": [], "outside": 0}
        page.reload()
    expect(page.locator("#question")).to_be_editable()


def test_what_a_person_writes_is_only_text_too(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    text = '<img src=x onerror="alert(1)"> [x](javascript:alert(1)) <script>alert(2)</script>'
    is_up(page)
    page.locator("#chooser").set_input_files({"name": "<b>.py", "mimeType": "text/plain", "buffer": text.encode()})
    expect(page.locator("#files b")).to_have_text(["<b>.py"])
    ask(page, text)
    finished(page)
    for _ in range(2):
        expect(page.locator(".message.user .said")).to_have_text(text)
        expect(page.locator(".attached summary b")).to_have_text("<b>.py")
        expect(page.locator("#chats .current .name")).to_contain_text("<img src=x")
        page.reload()


def test_an_answer_of_the_model_cant_call_another_host_through_the_policy(visits: Visits, site: Site) -> None:
    """Were something to slip through, the policy stands behind it."""
    visits.expect(
        "POLICY",
        "Refused",
        "Loading the",
        "Connecting to",
        "Executing",
        "Fetch API",
        "Applying",
        "This document requires",
    )
    page = visits.open(site.url)
    found = page.evaluate("""async () => {
      const tries = {};
      tries.script = await new Promise((done) => {
        const made = document.createElement("script");
        made.onerror = () => done("refused");
        made.onload = () => done("loaded");
        try { made.src = "/static/x"; } catch { done("refused"); }
        document.head.append(made);
      });
      try { document.body.insertAdjacentHTML("beforeend", "<p onclick=x>"); tries.html = "taken"; } catch { tries.html = "refused"; }
      tries.fetch = await fetch("https://evil.example.com/").then(() => "sent", () => "refused");
      return tries;
    }""")  # noqa: E501
    assert found == {"script": "refused", "html": "refused", "fetch": "refused"}
