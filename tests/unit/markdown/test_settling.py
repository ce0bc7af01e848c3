"""Markdown while it is being written: settled in pieces that together are the whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kodify.markdown import Settled, Settling, render


def settle(text: str, size: int = 3) -> list[Settled]:
    settling, found = Settling(), []
    for start in range(0, len(text), size):
        settling.add(text[start : start + size])
        if (settled := settling.settle()) is not None:
            found.append(settled)
    return found


LONGER = """# A plan

First **bold** words, then `code`.
A second line.

```python
def f():

    return 1

```

- one

- two

  ```
  x

  y
  ```

After the list.

1. a
2. b

> quoted

    indented

    more of it

| a | b |
|---|---|
| 1 | 2 |

The last one goes on
"""


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_the_pieces_are_the_whole(size: int) -> None:
    found = settle(LONGER, size)
    end = found[-1].end
    assert LONGER[end:] == "The last one goes on\n"
    assert "".join(settled.html for settled in found) == render(LONGER[:end])


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("one line", ""),
        ("a paragraph\n\n", ""),
        ("a paragraph\n\nanother one be", "a paragraph\n\n"),
        ("a paragraph\n\n1. an item\n", "a paragraph\n\n"),
        ("- a\n\n- b\n\n- c\n\n", ""),
        ("- a\n\n- b\n\nno item any more", "- a\n\n- b\n\n"),
        ("- a\n\n  still of the item\n", ""),
        ("```\na\n\nnot the end of the code", ""),
        ("~~~\n```\n\nnot the end of the code", ""),
        ("````\n```\n\nnot the end of the code", ""),
        ("```\na\n```\n\nafter the code", "```\na\n```\n\n"),
        ("```a`b\n\nno code at all, for a mark is behind it", "```a`b\n\n"),
        ("    ```\n\nan indented mark begins no code", ""),  # the lines can't tell; the end can
        ("- ```\n  a\n\n  b\n\nleaves the item and its code", ""),
    ],
)
def test_what_may_still_change_is_not_settled(text: str, settled: str) -> None:
    found = settle(text)
    assert text[: found[-1].end if found else 0] == settled


def test_a_long_list_is_settled_by_items() -> None:
    found = settle("1. an item of the list\n\n" * 400)
    assert len(found) > 2
    assert all("<ol" in settled.html for settled in found)


def test_it_goes_on_behind_what_was_settled_elsewhere() -> None:
    settling = Settling(end=100)
    settling.add("a paragraph\n\nanother one be")
    settled = settling.settle()
    assert settled is not None
    assert settled.end == 113


blocks = st.lists(
    st.sampled_from(
        ["text *a*\n", "\n", "- item\n", "  more\n", "```\n", "> quote\n", "1. one\n", "# head\n", "~~~\n"]
    ),
    max_size=30,
).map("".join)


@given(blocks, st.integers(1, 9))
def test_ends_only_grow_and_nothing_is_left_out(text: str, size: int) -> None:
    found = settle(text, size)
    ends = [settled.end for settled in found]
    assert ends == sorted(set(ends))
    start = 0
    for settled in found:
        assert settled.html == render(text[start : settled.end])
        start = settled.end
