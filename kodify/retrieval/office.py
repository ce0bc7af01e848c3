"""Reads one PDF or DOCX from standard input, as a process of its own: `python -m kodify.retrieval.office KIND BYTES S`.

Standard output is JSON: `texts`, of a PDF its pages, or `skipped`, why there are none.
"""

from __future__ import annotations

import io
import json
import logging
import resource
import sys
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

MOST_PAGES = 5000
MOST_CHARACTERS = 8_000_000
MOST_UNPACKED = 256 * 1024 * 1024
MOST_FILES = 10_000
MOST_RATIO = 200  # unpacked to packed: text has 10


def read_pdf(data: bytes) -> Iterator[str]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("it is encrypted")
    for number, page in enumerate(reader.pages):
        if number >= MOST_PAGES:
            return
        try:
            yield page.extract_text()
        except MemoryError:
            raise
        except Exception:  # one broken page: the others go on
            yield ""


def read_docx(data: bytes) -> Iterator[str]:
    """Headings as Markdown's, tables as lines."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_FILES or unpacked > MOST_UNPACKED or unpacked > MOST_RATIO * max(len(data), 4096):
            raise ValueError(f"it unpacks to {unpacked:,} bytes: a zip bomb")
    from docx import Document
    from docx.table import Table

    for block in Document(io.BytesIO(data)).iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                yield " | ".join(dict.fromkeys(cell.text.strip() for cell in row.cells))
            yield ""
            continue
        style = (block.style.name or "") if block.style is not None else ""
        level = style.removeprefix("Heading ")
        mark = "#" * int(level) + " " if style.startswith("Heading ") and level in "123456" else ""
        yield mark + block.text
        yield ""


def main(kind: str, most_bytes: int, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    warnings.simplefilter("ignore")
    logging.disable()
    answer: dict[str, Any]
    texts: list[str] = []
    length = 0
    try:
        for text in (read_pdf if kind == "pdf" else read_docx)(sys.stdin.buffer.read()):
            length += len(text)
            if length > MOST_CHARACTERS:
                break
            texts.append(text.encode("utf-8", "replace").decode())
        answer = {"texts": texts}
    except ValueError as error:
        answer = {"skipped": str(error)[:200]}
    except Exception as error:
        answer = {"skipped": f"it is broken ({type(error).__name__})"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
