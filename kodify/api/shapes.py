"""Bodies of the doors that are nobody's models but ours."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from kodify.errors import BadRequestError

Shape = TypeVar("Shape", bound=msgspec.Struct)
_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")


def read(body: dict[str, Any], shape: type[Shape]) -> Shape:
    """Raises BadRequestError that names the field. Fields that the shape does not have are passed over."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        text = str(error)
        parts = [found[1] for pattern in (_PLACE, _MISSING) if (found := pattern.search(text)) and found[1]]
        field, complaint = ".".join(parts), _PLACE.sub("", text)
        raise BadRequestError(f"{field or 'The body'}: {complaint}.", param=field or None) from None
