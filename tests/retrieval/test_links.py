"""Where a source's link leads, and what none is made of."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kodify.config_file import RetrievalEntry, read_config_file
from kodify.engine.scripted import WordEmbedder
from kodify.errors import ConfigError
from kodify.retrieval.base import Origin
from kodify.retrieval.library import Library
from kodify.retrieval.links import link
from kodify.retrieval.store import Store

COMMIT = "c0ffee1234567890c0ffee1234567890c0ffee12"
OWN = "http://git.example.ru:3000/{repository}/raw?at={commit}&file={path}#{start},{end},{other}"
SERVERS = {"git.example.ru": OWN, "code.example.ru": "gitlab"}


@pytest.mark.parametrize(
    ("repository", "path", "language", "address"),
    [
        ("github.com/a/b", "src/x.py", "python", f"https://github.com/a/b/blob/{COMMIT}/src/x.py#L3-L9"),
        ("gitlab.com/a/b/c", "x.py", "python", f"https://gitlab.com/a/b/c/-/blob/{COMMIT}/x.py#L3-9"),
        ("Gitlab.Example.ru/a/b", "x.py", "python", f"https://gitlab.example.ru/a/b/-/blob/{COMMIT}/x.py#L3-9"),
        ("codeberg.org/a/b", "x.py", "python", f"https://codeberg.org/a/b/src/commit/{COMMIT}/x.py#L3-L9"),
        ("gitea.example.ru/a/b", "x.py", "python", f"https://gitea.example.ru/a/b/src/commit/{COMMIT}/x.py#L3-L9"),
        ("code.example.ru/a/b", "x.py", "python", f"https://code.example.ru/a/b/-/blob/{COMMIT}/x.py#L3-9"),
        ("git.example.ru/a/b", "x y.py", "python",
         f"http://git.example.ru:3000/a/b/raw?at={COMMIT}&file=x%20y.py#3,9,{{other}}"),
        ("github.com/a/b", "README.md", "markdown", f"https://github.com/a/b/blob/{COMMIT}/README.md?plain=1#L3-L9"),
        ("codeberg.org/a/b", "a.rst", "rst", f"https://codeberg.org/a/b/src/commit/{COMMIT}/a.rst?display=source#L3-L9"),
        ("github.com/a/b", "a.pdf", "pdf", f"https://github.com/a/b/blob/{COMMIT}/a.pdf"),
        ("github.com/a/b", "a.html", "html", f"https://github.com/a/b/blob/{COMMIT}/a.html"),
        ("github.com/a/b", "ы.py", "python", f"https://github.com/a/b/blob/{COMMIT}/%D1%8B.py#L3-L9"),
    ],
)  # fmt: skip
def test_forms(repository: str, path: str, language: str, address: str) -> None:
    assert link(SERVERS, Origin(COMMIT, repository, path), language, 3, 9) == address


@pytest.mark.parametrize(
    "origin",
    [
        Origin(COMMIT, None, "x.py"),
        Origin(None, "github.com/a/b", "x.py"),
        Origin(COMMIT, "unknown.example.ru/a/b", "x.py"),
        Origin(COMMIT, "/srv/git/b", "x.py"),
        Origin(COMMIT, "github.com", "x.py"),
        Origin(COMMIT, "javascript:alert(1)//github/a/b", "x.py"),
        Origin(COMMIT, "user@github.com/a/b", "x.py"),
        Origin(COMMIT, "github.com/a/../b", "x.py"),
        Origin(COMMIT, "github.com/a b", "x.py"),
        Origin(COMMIT, "github.com/a/b", "../../x/y"),
        Origin("main", "github.com/a/b", "x.py"),
        Origin(f"{COMMIT}/../../x", "github.com/a/b", "x.py"),
        Origin(f"{COMMIT}\n", "github.com/a/b", "x.py"),
    ],
)
def test_what_is_not_known_has_no_link(origin: Origin) -> None:
    assert link(SERVERS, origin, "python", 1, 2) is None


@pytest.mark.parametrize(
    "path",
    [
        '"><img src=x onerror=alert(1)>',
        "javascript:alert(1)",
        "a?b#c",
        "{commit}{host}",
        "//evil.example.com/x",
        "a\nb",
    ],
)
def test_a_hostile_path_stays_a_path(path: str) -> None:
    found = link({}, Origin(COMMIT, "github.com/a/b", path), "python", 1, 2)
    assert found is not None
    parts = urlsplit(found)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("https", "github.com", "", "L1-L2")
    assert parts.path.startswith(f"/a/b/blob/{COMMIT}/") and not set(parts.path) & set("\"<>{} \n'")


async def test_of_each_document_or_of_its_collection(tmp_path: Path, embedder: WordEmbedder) -> None:
    library = Library(RetrievalEntry(), Store(None, None, tmp_path / "qdrant"), lambda model: embedder)
    await library.make("code")
    await library.note("code", "github.com/a/b", COMMIT)
    await library.put("code", "own.py", b"pears", Origin(COMMIT, "gitlab.com/c/d", "lib/own.py"))
    await library.put("code", "its.py", b"pears", Origin(COMMIT))
    await library.put("code", "changed.py", b"pears")
    await library.put("code", "nowhere.py", b"pears", Origin(COMMIT, None, "nowhere.py"))
    found = {one.path: one.source()["url"] for one in await library.search(["code"], "pears", k=9)}
    await library.close()
    assert found == {
        "own.py": f"https://gitlab.com/c/d/-/blob/{COMMIT}/lib/own.py#L1-1",
        "its.py": f"https://github.com/a/b/blob/{COMMIT}/its.py#L1-L1",
        "changed.py": None,
        "nowhere.py": None,
    }


@pytest.mark.parametrize(
    "given", ["gitolite", "javascript:alert('{path}')", "https://host/without", "https://{path}/x"]
)
def test_a_link_that_leads_nowhere_stops_the_start(tmp_path: Path, given: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(f'retrieval:\n  links: {{git.example.ru: "{given}"}}\n')
    with pytest.raises(ConfigError, match=r"links: git\.example\.ru is github, gitlab, gitea"):
        read_config_file(path)
    path.write_text(f'retrieval:\n  links: {{Git.example.ru: "{OWN}"}}\n')
    assert read_config_file(path).retrieval.links == {"git.example.ru": OWN}
