"""A document's bytes into pieces, in bounds: what is broken, binary or secret is left out with a reason.

Parsers can be led astray by what they read, so `read` is for the reader's process (reader.py) alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

from kodify.preprocess.languages import find_language
from kodify.retrieval.base import Piece, SkippedError
from kodify.retrieval.chunking import cut_code, cut_markdown, cut_pages, cut_text
from kodify.retrieval.secrets import may_hold_secrets, secret_in
from kodify.retrieval.syntax import GRAMMARS

MOST_BYTES = 16 * 1024 * 1024
MOST_CHARACTERS = 8_000_000
MOST_UNREADABLE = 0.1  # of the characters of a text

_NOT_TEXT = re.compile(
    r"\.(png|jpe?g|gif|webp|ico|bmp|tiff?|mp[34]|wav|ogg|avi|mov|zip|gz|bz2|xz|zst|7z|rar|tar|jar|war|whl|so|dll|dylib|exe|"
    r"o|a|lib|class|pyc|pyo|wasm|ttf|otf|woff2?|eot|parquet|npy|npz|pt|safetensors|onnx|sqlite3?|db|min\.js|min\.css|map|"
    r"lock|doc|xlsx?|pptx?)$",
    re.I,
)
_MARKS = (  # at the beginning of a text; UTF-32's begins as UTF-16's does
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Document:
    """Read and cut."""

    language: str
    pieces: tuple[Piece, ...]


def refusal(path: str, size: int, most_bytes: int = MOST_BYTES) -> str | None:
    """Why a file of this name and size is not even opened."""
    if may_hold_secrets(path):
        return "it may hold secrets"
    if _NOT_TEXT.search(PurePosixPath(path).name):
        return "no text"
    if size > most_bytes:
        return f"{size:,} bytes, more than {most_bytes:,}"
    return None


def kind_of(path: str, data: bytes) -> str:
    """pdf, docx, markdown, html, or its language."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".pdf" or data.startswith(b"%PDF-"):
        return "pdf"
    if suffix == ".docx":
        return "docx"
    if suffix in (".md", ".markdown", ".mdx"):
        return "markdown"
    if suffix in (".html", ".htm", ".xhtml"):
        return "html"
    return find_language(None, path).id


def read(path: str, data: bytes, most: int, *, plainly: bool = False) -> Document:
    """`most`: characters of a piece. `plainly`: code as a text, without its grammar. Raises SkippedError."""
    if (reason := refusal(path, len(data))) is not None:
        raise SkippedError(reason)
    kind = kind_of(path, data)
    if kind in ("pdf", "docx"):
        from kodify.retrieval.office import read_docx, read_pdf

        texts = _open((read_pdf if kind == "pdf" else read_docx)(data))
        return Document(kind, tuple(cut_pages(texts, most) if kind == "pdf" else cut_markdown("\n".join(texts), most)))
    text = _decoded(data)
    _open([text])
    if kind == "html":
        from kodify.retrieval.markup import plain

        (text,) = _open([plain(text)])
    if kind in ("html", "markdown"):
        return Document(kind, tuple(cut_markdown(text, most)))
    if kind in GRAMMARS and not plainly:
        return Document(kind, tuple(cut_code(text, kind, most)))
    return Document(kind, tuple(cut_text(text, most)))


def _open(texts: Sequence[str]) -> Sequence[str]:
    """The same, where there is no secret in them. Raises SkippedError."""
    for text in texts:
        if (what := secret_in(text)) is not None:
            raise SkippedError(f"it holds {what}")
    return texts


def _decoded(data: bytes) -> str:
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)
    if encoding is not None:
        text = data.decode(encoding, "replace")
        if text.count("�") + text.count("\0") > len(text) * MOST_UNREADABLE:
            raise SkippedError("no text")
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
