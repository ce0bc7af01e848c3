"""A document's bytes into text, in bounds: what is broken, hostile, binary or secret is left out with a reason.

PDF and DOCX are read in a process of their own with little memory and time, for their parsers can be led astray.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import PurePosixPath

from kodify.preprocess.languages import find_language
from kodify.retrieval.base import Piece, SkippedError
from kodify.retrieval.chunking import cut_code, cut_markdown, cut_pages, cut_text
from kodify.retrieval.syntax import GRAMMARS

MOST_BYTES = 16 * 1024 * 1024
MOST_CHARACTERS = 8_000_000
READER_TIMEOUT_S = 60
READER_BYTES = 1024 * 1024 * 1024  # of memory

_SECRET_NAMES = re.compile(
    r"^(\.env(\..+)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx|ppk|asc|gpg)|id_(rsa|dsa|ecdsa|ed25519)|\.netrc|\.pgpass|"
    r"\.htpasswd|\.npmrc|\.pypirc|credentials(\.json)?|secrets?\.(ya?ml|json|toml|env))$",
    re.I,
)
_EXAMPLES = re.compile(r"\.(example|sample|template|dist)$", re.I)
_SECRET_TEXT = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")
_NOT_TEXT = re.compile(
    r"\.(png|jpe?g|gif|webp|ico|bmp|tiff?|mp[34]|wav|ogg|avi|mov|zip|gz|bz2|xz|zst|7z|rar|tar|jar|war|whl|so|dll|dylib|exe|"
    r"o|a|lib|class|pyc|pyo|wasm|ttf|otf|woff2?|eot|parquet|npy|npz|pt|safetensors|onnx|sqlite3?|db|min\.js|min\.css|map|"
    r"lock|doc|xlsx?|pptx?)$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Document:
    """Read and cut."""

    language: str
    pieces: tuple[Piece, ...]


def refusal(path: str, size: int, most_bytes: int = MOST_BYTES) -> str | None:
    """Why a file of this name and size is not even opened."""
    name = PurePosixPath(path).name
    if _SECRET_NAMES.match(name) and not _EXAMPLES.search(name):
        return "it may hold secrets"
    if _NOT_TEXT.search(name):
        return "no text"
    if size > most_bytes:
        return f"{size:,} bytes, more than {most_bytes:,}"
    return None


def read(path: str, data: bytes, most: int) -> Document:
    """`most`: characters of a piece. Blocks. Raises SkippedError."""
    if (reason := refusal(path, len(data))) is not None:
        raise SkippedError(reason)
    kind = PurePosixPath(path).suffix.lower()
    if kind == ".pdf" or data.startswith(b"%PDF-"):
        return Document("pdf", tuple(cut_pages(_in_a_process("pdf", data), most)))
    if kind == ".docx":
        return Document("docx", tuple(cut_markdown("\n".join(_in_a_process("docx", data)), most)))
    text = _decoded(data)
    if _SECRET_TEXT.search(text):
        raise SkippedError("it holds a private key")
    language = find_language(None, path).id
    if kind in (".md", ".markdown", ".mdx"):
        return Document("markdown", tuple(cut_markdown(text, most)))
    if kind in (".html", ".htm", ".xhtml"):
        return Document("html", tuple(cut_markdown(_without_tags(text), most)))
    if language in GRAMMARS:
        return Document(language, tuple(cut_code(text, language, most)))
    return Document(language, tuple(cut_text(text, most)))


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    elif b"\0" in data[:8192]:
        raise SkippedError("no text")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1251" if _looks_russian(data) else "latin-1", "replace")
    if len(text) > MOST_CHARACTERS:
        raise SkippedError(f"{len(text):,} characters, more than {MOST_CHARACTERS:,}")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "�")


def _looks_russian(data: bytes) -> bool:
    """Bytes above ASCII that stand in rows are letters of another alphabet, not accents."""
    sample = data[:65_536]
    high = sum(byte >= 0xC0 for byte in sample)
    rows = sum(a >= 0xC0 and b >= 0xC0 for a, b in pairwise(sample))
    return high > 0 and rows * 2 > high


class _Plain(HTMLParser):
    """Headings become Markdown's, blocks lines; scripts and styles are left out."""

    _SILENT = frozenset({"script", "style", "template", "noscript", "svg", "head"})
    _BLOCKS = frozenset(
        {
            "p", "div", "li", "tr", "br", "section", "article", "pre", "table", "ul", "ol", "dl", "dt", "dd",
            "blockquote", "hr", "main", "header", "footer",
        }
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._SILENT:
            self._silent += 1
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self.parts.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in self._BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in self._BLOCKS or (len(tag) == 2 and tag[0] == "h"):
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(re.sub(r"[ \t]+", " ", data))


def _without_tags(text: str) -> str:
    parser = _Plain()
    parser.feed(text)
    parser.close()
    lines = (line.strip() for line in "".join(parser.parts).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _in_a_process(kind: str, data: bytes) -> list[str]:
    command = [sys.executable, "-m", "kodify.retrieval.office", kind, str(READER_BYTES), str(READER_TIMEOUT_S)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=READER_TIMEOUT_S + 10, check=False)
    except subprocess.TimeoutExpired:
        raise SkippedError(f"it takes more than {READER_TIMEOUT_S} s to read") from None
    if done.returncode != 0:
        raise SkippedError("it can't be read within its bounds: broken, hostile or too large")
    answer = json.loads(done.stdout)
    if "skipped" in answer:
        raise SkippedError(str(answer["skipped"]))
    texts: list[str] = answer["texts"]
    if not any(text.strip() for text in texts):
        raise SkippedError("there is no text in it")
    return texts
