"""Files in messages, and actions on them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from playwright.sync_api import Page, expect

from kodify.engine.scripted import Script
from tests.browser.conftest import Site, ask, is_up
from tests.browser.test_chat import finished, pieces
from tests.browser.watching import Visits
from tests.conftest import eventually

BEFORE = "def load(path):\n    f = open(path)\n    return f.read()\n"
AFTER = "def load(path):\n    with open(path) as file:\n        return file.read()\n"
FIXED = f"The file was never closed.\n\n```python\n{AFTER}```\n"

DROP = """([name, text]) => {
  const moved = new DataTransfer();
  moved.items.add(new File([text], name));
  const event = (kind) => new DragEvent(kind, {dataTransfer: moved, bubbles: true, cancelable: true});
  document.querySelector("#main").dispatchEvent(event("dragover"));
  const shown = !document.querySelector("#drop").hidden;
  document.querySelector("#main").dispatchEvent(event("drop"));
  return shown;
}"""
PASTE = """(text) => {
  const given = new DataTransfer();
  given.setData("text/plain", text);
  const event = new ClipboardEvent("paste", {clipboardData: given, bubbles: true, cancelable: true});
  return document.querySelector("#question").dispatchEvent(event);
}"""


def choose(page: Page, name: str, content: bytes) -> None:
    is_up(page)
    page.locator("#chooser").set_input_files({"name": name, "mimeType": "text/plain", "buffer": content})


def test_an_action_on_a_dropped_file_gives_a_diff_that_applies(visits: Visits, site: Site, tmp_path: Path) -> None:
    site.engine.script = Script(pieces(FIXED))
    context = visits.context()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = visits.open(site.url, context)
    is_up(page)
    assert page.evaluate(DROP, ["loading.py", BEFORE])
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#files li")).to_contain_text("loading.py")
    actions = page.get_by_role("group", name="With loading.py:").get_by_role("button")
    expect(actions.first).to_be_visible()
    assert "commit" not in " ".join(actions.all_inner_texts()).lower()
    page.locator("#question").fill("Mind the file handle")
    visits.shoot(page, "attached")
    page.locator("[data-action=fix]").click()
    for _ in range(2):
        finished(page)
        expect(page.locator(".message.user .said")).to_contain_text("loading.py\n\nMind the file handle")
        expect(page.locator(".diff .removed").first).to_have_text("-    f = open(path)")
        expect(page.locator(".diff .added")).to_have_count(2)
        page.evaluate("navigator.clipboard.writeText('')")
        page.get_by_role("button", name="Copy the changes").click()
        eventually(lambda: bool(page.evaluate("navigator.clipboard.readText()")))
        diff = page.evaluate("navigator.clipboard.readText()")
        visits.shoot(page, "diff")
        page.reload()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as .patch").click()
    assert download.value.suggested_filename == "loading.py.patch"
    download.value.save_as(tmp_path / "it.patch")
    assert (tmp_path / "it.patch").read_text(encoding="utf-8") == diff
    (tmp_path / "loading.py").write_text(BEFORE, encoding="utf-8")
    subprocess.run(["git", "apply", "it.patch"], cwd=tmp_path, check=True, env={"GIT_CEILING_DIRECTORIES": "/"})
    assert (tmp_path / "loading.py").read_text(encoding="utf-8") == AFTER
    prompt = site.engine.jobs[-1].prompts[0].text or ""
    assert BEFORE in prompt and "Mind the file handle" in prompt


def test_files_go_with_the_message_and_are_shown_folded(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    chosen = page.locator("#files b")
    choose(page, "notes.md", b"A fence:\n```\ninside\n```\nand after it\n")
    expect(chosen).to_have_text(["notes.md"])  # the next one: they are read in their own time
    choose(page, "empty.txt", b"")
    expect(chosen).to_have_text(["notes.md", "empty.txt"])
    choose(page, "wrong.py", b"x = 1\n")
    page.get_by_role("button", name="Remove wrong.py").click()
    ask(page, "Read these")
    finished(page)
    prompt = site.engine.jobs[-1].prompts[0].text or ""
    assert "Read these\n\nFile `notes.md`:\n````markdown\nA fence:\n```\ninside\n```\nand after it\n````" in prompt
    assert "File `empty.txt`:" in prompt and "wrong.py" not in prompt
    for _ in range(2):
        expect(page.locator(".message.user .said")).to_have_text("Read these")
        expect(page.locator(".attached summary b")).to_have_text(["notes.md", "empty.txt"])
        page.locator(".attached summary").first.click()
        expect(page.locator(".attached pre").first).to_have_text("A fence:\n```\ninside\n```\nand after it\n")
        page.reload()
    page.locator(".message.user").hover()
    page.get_by_role("button", name="Edit and send again").click()
    expect(page.locator("#question")).to_have_value("Read these")
    expect(page.locator("#files b")).to_have_text(["notes.md", "empty.txt"])


def test_what_is_no_text_or_too_large_is_refused(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    notices = page.locator(".notice.bad")
    choose(page, "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    expect(notices.last).to_contain_text("picture.png is not a text file.")
    choose(page, "latin.txt", "Grüße".encode("latin-1"))
    expect(notices.last).to_contain_text("latin.txt is not a text file.")
    choose(page, "huge.log", b"x" * (512 * 1024 + 1))
    expect(notices.last).to_contain_text("huge.log is too large: files may have 512 kB.")
    expect(page.locator("#files")).to_be_hidden()
    for number in range(3):
        choose(page, f"large{number}.txt", b"y" * 500_000)
        expect(page.locator("#files b")).to_have_count(min(number + 1, 2))
    expect(notices.last).to_contain_text("Together the files may have 1 MB.")
    expect(page.locator("#files b")).to_have_text(["large0.txt", "large1.txt"])


def test_a_long_pasted_text_becomes_a_file(visits: Visits, site: Site) -> None:
    page = visits.open(site.url)
    is_up(page)
    page.evaluate(PASTE, "a short one\n" * 3)
    expect(page.locator("#files")).to_be_hidden()
    page.evaluate(PASTE, "a line\n" * 40)
    expect(page.locator("#files b")).to_have_text("Pasted text 1")
    expect(page.get_by_role("group", name="With Pasted text 1:").get_by_role("button").first).to_be_visible()
