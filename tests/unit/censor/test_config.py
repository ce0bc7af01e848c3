"""The `censor:` section of config.yml."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kodify import censor
from kodify.config_file import read_config_file
from kodify.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_none_is_the_default(tmp_path: Path) -> None:
    found = read_config_file(write(tmp_path, "tabby: {}\n"))
    assert censor.build(found.censor, CollectorRegistry()) is None
    assert found.shown()["censor"] is None


@pytest.mark.parametrize(
    ("check", "prompts", "answers"), [("both", True, True), ("prompts", True, False), ("answers", False, True)]
)
def test_what_is_checked(tmp_path: Path, check: str, prompts: bool, answers: bool) -> None:
    found = read_config_file(write(tmp_path, f"censor:\n  patterns: [secret]\n  check: {check}\n"))
    built = censor.build(found.censor, CollectorRegistry())
    assert built is not None
    assert (built.checks_prompts, built.checks_answers, built.check) == (prompts, answers, None)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    text = "censor:\n  url: http://me:hush@censor:8080/v1/moderations?api_key=hush\n  token: hush\n"
    found = read_config_file(write(tmp_path, text))
    shown = found.shown()["censor"]
    assert "hush" not in str(shown)
    assert shown["url"].startswith("http://me:")
    assert (shown["timeout_s"], shown["check"], shown["open_on_failure"]) == (5.0, "both", False)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ("{}", "line 1: censor: needs url or patterns"),
        ("\n  url: censor:8080", "line 2: censor.url: String should match pattern"),
        ("\n  patterns: [a]\n  timeout_s: 0", "line 3: censor.timeout_s: Input should be greater than 0"),
        ("\n  patterns: [a]\n  check: all", "line 3: censor.check: Input should be 'prompts', 'answers' or 'both'"),
        ("\n  patterns: [a]\n  urls: x", "line 3: censor.urls: Extra inputs"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, section: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read_config_file(write(tmp_path, f"censor: {section}\n"))
