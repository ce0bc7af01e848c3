"""The pages' frame over HTTP: languages, colours, static files, what browsers are told."""

from __future__ import annotations

import re

import httpx
import pytest

from kodify.web import Pages, Reader, choose_language
from kodify.web.pages import HERE
from kodify.web.texts import LANGUAGES, read
from tests.api.test_errors import assert_error
from tests.conftest import Serve

TEXTS = read(HERE / "texts")
FILLED = re.compile(r"\{(\w+)\}")
# Keys in scripts and templates: t("a.b"), data-text="a.b" and the like; those that end in an underscore are begun only.
USED = re.compile(r"""["'`]((?:base|chat|admin)\.(?!css\b)[a-z]\w*)""")


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, "", "en"),
        (None, "ru", "ru"),
        (None, "ru-RU,ru;q=0.9,en-US;q=0.8,en;q=0.7", "ru"),
        (None, "de-DE,de;q=0.9,ru;q=0.5,en;q=0.4", "ru"),
        (None, "en;q=0.3, RU ;q=0.8", "ru"),
        (None, "de,fr;q=0.9,*;q=0.1", "en"),
        (None, "ru;q=zero,en;q=", "en"),
        (None, ",;=,;q,ru;", "ru"),
        ("ru", "en", "ru"),
        ("en", "ru", "en"),
        ("de", "ru", "ru"),
    ],
)
def test_the_readers_language(chosen: str | None, accepted: str, language: str) -> None:
    assert choose_language(chosen, accepted) == language


def test_every_language_says_the_same() -> None:
    for code in LANGUAGES:
        assert list(TEXTS[code]) == list(TEXTS["en"]), code
        for key, text in TEXTS[code].items():
            assert text.strip(), (code, key)
            assert sorted(FILLED.findall(text)) == sorted(FILLED.findall(TEXTS["en"][key])), (code, key)


def test_the_pages_use_the_texts_that_there_are() -> None:
    files = [*(HERE / "static").rglob("*.js"), *(HERE / "templates").iterdir()]
    used = {key for path in files for key in USED.findall(path.read_text(encoding="utf-8"))}
    begun = {key for key in used if key.endswith("_")}
    assert used - begun <= set(TEXTS["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_in_the_readers_language_and_colours(serve: Serve, language: str) -> None:
    with serve().client(**{"accept-language": language}) as client:
        answer = client.get("/", headers={"cookie": "kodify_theme=dark"})
        assert answer.status_code == 200
        assert answer.headers["content-language"] == language
        assert f'<html lang="{language}" data-theme="dark">' in answer.text
        assert TEXTS[language]["chat.empty_title"] in answer.text
        assert "data-theme" not in client.get("/", headers={"cookie": "kodify_theme=pink"}).text.partition(">")[0]
        other = next(code for code in LANGUAGES if code != language)
        answer = client.get("/", headers={"cookie": f"kodify_language={other}"})
        assert answer.headers["content-language"] == other


def test_a_page_has_nothing_inline_and_nothing_from_elsewhere(serve: Serve) -> None:
    with serve().client() as client:
        answer = client.get("/")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", answer.text)
        assert not [tag for tag in re.findall(r"<script[^>]*>", answer.text) if "src=" not in tag and "json" not in tag]
        addresses = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
        assert len(addresses) > 10
        for address in addresses:
            assert address.startswith("/") and not address.startswith("//"), address
            if address.startswith("/static/"):
                found = client.get(address)
                assert found.status_code == 200, address
                assert found.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_static_file_is_packed_and_known_again(serve: Serve) -> None:
    with serve().client() as client:
        version = Pages("0").version
        path = f"/static/{version}/base.css"
        plain = client.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        with httpx.stream("GET", f"{client.base_url}{path}", headers={"accept-encoding": "br, gzip;q=0.5"}) as packed:
            assert packed.headers["content-encoding"] == "gzip"
            sent = sum(map(len, packed.iter_raw()))
        assert sent < len(plain.content) / 2
        assert client.get(path).text == plain.text
        known = client.get(path, headers={"if-none-match": plain.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        refused = client.get(path, headers={"accept-encoding": "gzip;q=0"})
        assert "content-encoding" not in refused.headers


def test_an_older_page_gets_what_there_is_now_and_asks_again(serve: Serve) -> None:
    with serve().client() as client:
        assert client.get("/static/0123456789ab/base.css").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/static/v/none.js",
        "/static/v/../pages.py",
        "/static/v/%2e%2e/templates/chat.html",
        "/static/v/",
        "/static/v/base",
    ],
)
def test_only_the_files_of_the_pages_are_there(serve: Serve, path: str) -> None:
    with serve().client() as client:
        assert_error(client.get(path), 404, "NotFoundError")


def test_without_the_page_there_is_none(serve: Serve) -> None:
    with serve(PAGE=False).client() as client:
        assert_error(client.get("/"), 404, "NotFoundError")
        assert_error(client.get("/static/v/base.css"), 404, "NotFoundError")


def test_a_page_is_made_once_for_all_who_read_it_so() -> None:
    pages = Pages("0")
    assert pages.page("chat", Reader("ru")) is pages.page("chat", Reader("ru", None))
    assert pages.page("chat", Reader("ru")) is not pages.page("chat", Reader("ru", "dark"))
