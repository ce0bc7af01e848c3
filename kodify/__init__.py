"""Kodify: a self-hosted AI coding-assistant server in one process."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kodify")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+source"
