"""PDF and DOCX into texts: of a PDF its pages, of a DOCX its paragraphs with headings as Markdown's. Bounded by counts;
memory and time are the bounds of the process that this runs in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from kodify.retrieval.base import SkippedError

if TYPE_CHECKING:
    from docx.document import Document as DocxDocument

MOST_PAGES = 5000
MOST_PARAGRAPHS = 50_000  # rows of tables included: a thousand pages have 20,000
MOST_CELLS = 200_000
MOST_CHARACTERS = 8_000_000
MOST_UNPACKED = 256 * 1024 * 1024
MOST_FILES = 10_000
MOST_RATIO = 200  # unpacked to packed: text has 10


def read_pdf(data: bytes) -> list[str]:
    """Raises SkippedError."""
    return _read(_pages(data))


def read_docx(data: bytes) -> list[str]:
    """Raises SkippedError."""
    return _read(_paragraphs(data))


def _read(found: Iterable[str]) -> list[str]:
    texts: list[str] = []
    length = 0
    try:
        for text in found:
            length += len(text)
            if length > MOST_CHARACTERS:
                break
            texts.append(text.encode("utf-8", "replace").decode())
    except (SkippedError, MemoryError):
        raise
    except Exception as error:
        raise SkippedError(f"it is broken ({type(error).__name__})") from None
    if not any(text.strip() for text in texts):
        raise SkippedError("there is no text in it")
    return texts


def _pages(data: bytes) -> Iterator[str]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise SkippedError("it is encrypted")
    for number, page in enumerate(reader.pages):
        if number >= MOST_PAGES:
            return
        try:
            yield page.extract_text()
        except MemoryError:
            raise
        except Exception:  # one broken page: the others go on
            yield ""


def _paragraphs(data: bytes) -> Iterator[str]:
    _refuse_bombs(data)
    from docx import Document
    from docx.table import Table, _Cell

    document = Document(io.BytesIO(data))
    marks = _marks(document)
    count, cells = 0, 0
    for block in document.iter_inner_content():
        count += 1
        if isinstance(block, Table):
            for row in block._tbl.tr_lst:  # python-docx's own rows repeat a merged cell as often as it says it spans
                count, cells = count + 1, cells + len(row.tc_lst)
                if count > MOST_PARAGRAPHS or cells > MOST_CELLS:
                    break
                yield " | ".join(_Cell(cell, block).text.strip() for cell in row.tc_lst)
        else:
            yield marks.get(block._p.style or "", "") + block.text
        if count > MOST_PARAGRAPHS or cells > MOST_CELLS:
            raise SkippedError(f"it has more than {MOST_PARAGRAPHS:,} paragraphs or {MOST_CELLS:,} cells")
        yield ""


def _marks(document: DocxDocument) -> dict[str, str]:
    """Markdown's mark of each style of headings. Asked of each paragraph, python-docx searches all styles."""
    levels = {f"Heading {level}": level for level in range(1, 7)}
    found = ((style.style_id, levels.get(style.name or "")) for style in document.styles)
    return {str(style): "#" * level + " " for style, level in found if level is not None}


def _refuse_bombs(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > MOST_FILES or unpacked > MOST_UNPACKED or unpacked > MOST_RATIO * max(len(data), 4096):
            raise SkippedError(f"it unpacks to {unpacked:,} bytes: a zip bomb")
