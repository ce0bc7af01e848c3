"""What clients send to `/v1/embeddings`."""

from __future__ import annotations

from typing import Literal

import msgspec

# A string, texts, token ids, lists of them: an empty list is any of the last three.
Input = str | list[str | int | list[int]]


class EmbeddingRequest(msgspec.Struct):
    """`text` is the documented name of `input`."""

    input: Input | None = None
    text: Input | None = None
    dimensions: int | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None
