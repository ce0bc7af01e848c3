"""What of long code a prompt has."""

from __future__ import annotations

import pytest

from kodify.actions import Actions, Subject, fit
from kodify.errors import BadRequestError

ACTIONS = Actions()
CONTEXT = 2000
LINES = "".join(f"value_{number:04} = {number:04}\n" for number in range(1, 1001))  # 5 tokens a line


def count(text: str) -> int:
    return -(-len(text) // 4)


def total(messages: list[dict[str, str]]) -> int:
    return sum(count(message["content"]) for message in messages)


def test_what_fits_is_there_as_a_whole() -> None:
    fitted = fit(ACTIONS.find("explain"), Subject("a = 1\n", path="a.py"), count, CONTEXT)
    assert fitted.messages == ACTIONS.find("explain").messages(Subject("a = 1\n", path="a.py"))
    assert fitted.most_tokens == CONTEXT // 4


@pytest.mark.parametrize("name", ["explain", "fix", "tests", "document", "review"])
def test_a_selection_comes_with_the_lines_around_it_that_fit(name: str) -> None:
    subject = Subject(LINES, selection=(500, 510))
    fitted = fit(ACTIONS.find(name), subject, count, CONTEXT)
    user = fitted.messages[1]["content"]
    for number in (499, 500, 510, 511):
        assert f"value_{number:04}" in user
    assert "value_0001" not in user
    assert "value_1000" not in user
    shown = [int(line[6:10]) for line in user.split("\n") if line.startswith("value_")]
    before, after = [n for n in shown if n < 500], [n for n in shown if n > 510]
    assert before == list(range(500 - len(before), 500))
    assert after == list(range(511, 511 + len(after)))
    assert len(before) > len(after) > 0
    assert total(fitted.messages) + fitted.most_tokens <= CONTEXT
    assert fitted.most_tokens >= 300
    assert abs(fitted.prompt_tokens - total(fitted.messages)) < 100


@pytest.mark.parametrize(("name", "selection"), [("explain", None), ("fix", None), ("fix", (1, 400)), ("review", None)])
def test_a_target_without_room_is_refused(name: str, selection: tuple[int, int] | None) -> None:
    subject = Subject(LINES, selection=selection)
    with pytest.raises(BadRequestError, match="does not fit the model's context of 2000") as caught:
        fit(ACTIONS.find(name), subject, count, CONTEXT)
    assert caught.value.param == ("selection" if selection else "code")


def test_a_target_that_is_far_too_long_is_not_counted() -> None:
    counted = []

    def careful(text: str) -> int:
        counted.append(len(text))
        return count(text)

    with pytest.raises(BadRequestError):
        fit(ACTIONS.find("explain"), Subject("x = 1\n" * 1_000_000), careful, CONTEXT)
    assert max(counted) < 10_000


def test_a_long_diff_is_cut_by_lines_and_the_model_is_told() -> None:
    fitted = fit(ACTIONS.find("commit-message"), Subject(LINES), count, CONTEXT)
    user = fitted.messages[1]["content"]
    assert "value_0001 = 0001\n" in user
    assert "value_1000" not in user
    assert "(The diff goes on; its end did not fit.)" in user
    assert total(fitted.messages) + fitted.most_tokens <= CONTEXT
    assert "goes on" not in fit(ACTIONS.find("commit-message"), Subject("a\n"), count, CONTEXT).messages[1]["content"]


def test_a_long_target_gets_a_long_answer() -> None:
    short = fit(ACTIONS.find("fix"), Subject("a = 1\n"), count, 100_000)
    long = fit(ACTIONS.find("fix"), Subject(LINES), count, 100_000)
    assert short.most_tokens == 4096
    assert long.most_tokens > 2 * count(LINES)
    assert fit(ACTIONS.find("fix"), Subject(LINES), count, 100_000, 77).most_tokens == 77


def test_a_line_without_an_end_does_not_break_the_surroundings() -> None:
    subject = Subject("x" * 100_000 + "\na = 1\n" + "y" * 100_000, selection=(2, 2))
    user = fit(ACTIONS.find("explain"), subject, count, CONTEXT).messages[1]["content"]
    assert "a = 1" in user
    assert "xxx" not in user
    assert "yyy" not in user
