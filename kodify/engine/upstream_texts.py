"""Every text of a request for another server, for whoever checks prompts: its template decides what the model reads."""

from __future__ import annotations

from typing import Any

from kodify.errors import BadRequestError

MOST_VALUES = 100_000  # texts, lists and objects: some tens of milliseconds
MOST_MEDIA_TYPE = 200  # characters
_UNREAD = ("model", "stop", "stream_options", "logit_bias")  # the server's business: no template is given them
# What a picture, a sound or a file is sent inside of, by the type of the part.
_MEDIA = {"image_url": "url", "video_url": "url", "audio_url": "url", "input_audio": "data", "file": "file_data"}
_PROTOCOL = """
role content type text name id function arguments tool_calls tool_call_id system user assistant developer tool
reasoning reasoning_content refusal image_url video_url audio_url input_audio url data format detail file file_data
file_id filename parameters properties description required items enum strict additionalProperties object string
number integer boolean array null json_schema json_object schema anyOf oneOf allOf title default minimum maximum
auto none enable_thinking cache_control ephemeral
"""
_WORDS = frozenset(_PROTOCOL.split())  # all others may be read by a model: a tool's parameters have their own names
_KINDS = ("role", "type", "tool_choice")  # whose values are such words


def texts(body: dict[str, Any]) -> list[str]:
    """Its strings and the names that a client has given, messages first. A picture, sound or file that is sent inside
    of a message is none. BadRequestError for more of them than can be looked at."""
    names = [name for name in body if name not in _UNREAD and name != "messages"]
    waiting = [(name, body[name]) for name in reversed(names)]  # the next one last
    if "messages" in body:
        waiting.append(("messages", _readable(body["messages"])))
    found: list[str] = []
    seen = 0
    while waiting:
        name, value = waiting.pop()
        seen += 1
        if isinstance(value, str):
            if value and not (name in _KINDS and value in _WORDS):
                found.append(value)
            continue
        if isinstance(value, dict):
            inner = [pair for key, one in value.items() for pair in _pairs(key, one)]
        elif isinstance(value, list):
            inner = [("", one) for one in value if isinstance(one, (str, list, dict))]
        else:
            continue
        if seen + len(waiting) + len(inner) > MOST_VALUES:
            raise BadRequestError(f"The request has more than {MOST_VALUES} texts, lists and objects.")
        waiting.extend(reversed(inner))
    return found


def _pairs(key: str, value: Any) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = [] if key in _WORDS else [("", key)]
    if isinstance(value, (str, list, dict)):
        pairs.append((key, value))
    return pairs


def _readable(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**message, "content": [_part(part) if isinstance(part, dict) else part for part in content]}
        if isinstance(content := message.get("content"), list)
        else message
        for message in messages
    ]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _MEDIA:
        return part
    inner, place = part.get(kind), _MEDIA[kind]
    if _is_media(inner, place):
        return {name: value for name, value in part.items() if name != kind}
    if isinstance(inner, dict) and _is_media(inner.get(place), place):
        return {**part, kind: {name: value for name, value in inner.items() if name != place}}
    return part


def _is_media(value: Any, place: str) -> bool:
    """In Base64, which has no spaces; a sound comes without the `data:` before it."""
    if not isinstance(value, str) or " " in value:
        return False
    return place == "data" or (value.startswith("data:") and ";base64," in value[:MOST_MEDIA_TYPE])
