"""How many connections the process's open files allow."""

from __future__ import annotations

import resource

import pytest
from prometheus_client import CollectorRegistry

from kodify.connections import RESERVED_FILES, Connections, raise_open_files
from kodify.settings import Settings

ANY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "raised_to", "most"),
    [
        ((1024, 1 << 20), 10_000 + RESERVED_FILES, 10_000),
        ((1024, ANY), 10_000 + RESERVED_FILES, 10_000),
        ((1024, 4096), 4096, 4096 - RESERVED_FILES),
        ((1 << 20, 1 << 20), None, 10_000),
        ((ANY, ANY), None, 10_000),
        ((100, 100), None, 1),
    ],
)
def test_open_files_are_raised_as_far_as_they_are_needed(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limits: tuple[int, int],
    raised_to: int | None,
    most: int,
) -> None:
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda which: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, value: now.append(value))
    raise_open_files(settings.max_connections)
    assert now[1:] == ([] if raised_to is None else [(raised_to, limits[1])])
    assert Connections(settings, CollectorRegistry()).most == most
    assert ("MAX_CONNECTIONS" in caplog.text) == (most < settings.max_connections)
