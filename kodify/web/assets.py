"""Static files: read once, packed once, known by their digest."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
PACKED_BELOW = 0.9  # of the plain size, or packing is not worth the browser's time


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    packed: bytes | None  # by gzip
    etag: str
    media_type: str


def read(folders: Mapping[str, Path]) -> dict[str, Asset]:
    """Name to file, of folders by what their files' names begin with. Other kinds of files are left out."""
    return {
        prefix + name: asset(path.read_bytes(), MEDIA_TYPES[path.suffix])
        for prefix, folder in folders.items()
        for name, path in _files(folder)
    }


def version(assets: Mapping[str, Asset]) -> str:
    """The same where all files are the same, so that an address with it may be kept for ever."""
    told = "".join(f"{name}{asset.etag}" for name, asset in sorted(assets.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in MEDIA_TYPES and path.is_file():
            yield path.relative_to(folder).as_posix(), path


def asset(body: bytes, media_type: str) -> Asset:
    packed = gzip.compress(body, 9, mtime=0)
    etag = '"' + hashlib.sha256(body).hexdigest()[:20] + '"'
    return Asset(body, packed if len(packed) < len(body) * PACKED_BELOW else None, etag, media_type)
