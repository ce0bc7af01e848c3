"""What clients send to have documents searched."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Few = Annotated[int, msgspec.Meta(ge=1, le=50)]
Text = Annotated[str, msgspec.Meta(min_length=1)]


class NewCollection(msgspec.Struct):
    name: Text


class Checkout(msgspec.Struct):
    """What a collection has been filled from."""

    repository: str | None = None
    commit: str | None = None


class SearchRequest(msgspec.Struct):
    """`path`: a file, or a folder. `by`: which side is asked."""

    query: Text
    k: Few | None = None
    threshold: Share | None = None
    path: str | None = None
    language: str | None = None
    by: Literal["both", "meaning", "words"] = "both"


class Retrieval(msgspec.Struct):
    """`retrieval` in the body of a chat."""

    collection: Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=10)]
    k: Few | None = None
    threshold: Share | None = None
    path: str | None = None
    language: str | None = None

    @property
    def collections(self) -> list[str]:
        return [self.collection] if isinstance(self.collection, str) else self.collection


class ProcessMessage(msgspec.Struct):
    """`user_name` and `course` tell one history from another."""

    message: Text
    user_name: Annotated[str, msgspec.Meta(max_length=256)] = ""
    course: Annotated[str, msgspec.Meta(max_length=256)] = ""
