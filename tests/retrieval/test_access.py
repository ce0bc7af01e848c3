"""Who may search what, and the examples of config.yml."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodify.config_file import RetrievalEntry, read_config_file
from kodify.errors import ConfigError
from kodify.retrieval.access import may_search

EXAMPLE = Path(__file__).parents[2] / "configs" / "retrieval" / "config.yml"
ENTRY = RetrievalEntry.model_validate(
    {
        "groups": {"staff": ["Vera@example.ru"]},
        "collections": {"open": {}, "hers": {"users": ["ann@example.ru"]}, "theirs": {"groups": ["staff"]}},
    }
)


@pytest.mark.parametrize(
    ("collection", "user", "may"),
    [
        ("open", "any@example.ru", True),
        ("hers", "ANN@example.ru", True),
        ("hers", "vera@example.ru", False),
        ("theirs", "vera@example.ru", True),
        ("theirs", "ann@example.ru", False),
        ("unlisted", "ann@example.ru", False),
        ("hers", None, True),
        ("unlisted", None, True),
    ],
)
def test_by_user_and_group(collection: str, user: str | None, may: bool) -> None:
    assert may_search(ENTRY, collection, user, is_administrator=False) is may
    assert may_search(ENTRY, collection, user, is_administrator=True)


def test_unlisted_collections_can_be_opened() -> None:
    assert may_search(RetrievalEntry(unlisted="everyone"), "any", "ann@example.ru", is_administrator=False)


def test_the_guides_three_collections() -> None:
    entry = read_config_file(EXAMPLE).retrieval
    assert list(entry.collections) == ["BD_curs_data", "BD_chat_question", "BD_organization_question"]
    assert (entry.k, entry.threshold) == (3, 0.7)
    assert {name for course in entry.courses.values() for name in course.collections} == set(entry.collections)


def test_a_group_that_is_none_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("retrieval:\n  collections:\n    a: {groups: [nobody]}\n")
    with pytest.raises(ConfigError, match="collection a names the group nobody"):
        read_config_file(path)
