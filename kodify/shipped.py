"""Where the folders are that ship beside the code: at a checkout's top, in an installed wheel inside the package."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).resolve().parent / "shipped"
_CHECKOUT = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """`migrations` or `preprocess_configs`: setup.py lists them."""
    installed = _INSTALLED / name
    return installed if installed.is_dir() else _CHECKOUT / name


def find_file(path: str) -> Path:
    """The file that `path` means: the working directory's, or else the shipped one of that name, so that the guides'
    `preprocess_configs/qwen.json` works from anywhere."""
    given = Path(path)
    if given.exists() or given.is_absolute() or len(given.parts) < 2 or ".." in given.parts:
        return given
    shipped = shipped_folder(given.parts[0]).joinpath(*given.parts[1:])
    return shipped if shipped.is_file() else given
