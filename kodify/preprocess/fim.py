"""Fill-in-the-middle: presets, and a prefix and a suffix into one prompt of token ids."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kodify.engine.base import Vocabulary
from kodify.errors import ConfigError

MAX_CHARACTERS_A_TOKEN = 64
PRESETS = Path(__file__).parent.parent.parent / "preprocess_configs"


class Preset(BaseModel):
    """A family's markers: each must be one token of the model's tokenizer. One JSON file each."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: str | None = Field(None, alias="$schema")
    name: str
    prefix: str
    suffix: str
    middle: str
    order: Literal["prefix-suffix-middle", "suffix-prefix-middle"] = "prefix-suffix-middle"
    stop: tuple[str, ...] = ()
    # Of the context left beside the completion; what the suffix does not use goes to the prefix.
    suffix_share: float = Field(0.25, gt=0, lt=1)
    # For a model that was trained on short pieces only.
    max_prompt_tokens: int | None = Field(None, ge=16)

    @property
    def markers(self) -> tuple[str, str, str]:
        return (self.prefix, self.suffix, self.middle)

    def fits(self, vocabulary: Vocabulary) -> bool:
        return all(vocabulary.token_id(marker) is not None for marker in self.markers)


def read_preset(path: Path) -> Preset:
    """Raises ConfigError with the file's name."""
    try:
        return Preset.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"The preset {path} can't be read: {error.strerror}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"The preset {path} is not valid: {place}: {first['msg']}.") from None


def choose_preset(
    configured: str | None, vocabulary: Vocabulary, model_folder: str = "", shipped: Iterable[Path] | None = None
) -> Preset | None:
    """The configured preset, or the model's own (`fim.json` in its folder), or the first shipped one whose markers
    the tokenizer has; None where none fits.

    Raises ConfigError where the preset that was asked for has markers that are not the tokenizer's.
    """
    own = Path(model_folder) / "fim.json"
    if configured is None and model_folder and own.is_file():
        configured = str(own)
    if configured is not None:
        preset = read_preset(Path(configured))
        lacking = [marker for marker in preset.markers if vocabulary.token_id(marker) is None]
        if lacking:
            raise ConfigError(
                f"The preset {configured} has the marker {lacking[0]}, which is not one token of this model: set "
                "COMPLETIONS_PREPROCESSING_CONFIG to the preset of its family, or leave it unset."
            )
        return preset
    candidates = map(read_preset, sorted(PRESETS.glob("*.json")) if shipped is None else shipped)
    return next((preset for preset in candidates if preset.fits(vocabulary)), None)


def fill_in_the_middle(
    preset: Preset, vocabulary: Vocabulary, prefix: str, suffix: str, budget_tokens: int
) -> list[int]:
    """At most `budget_tokens` ids: the prefix loses its start and the suffix its end, never a marker."""
    if preset.max_prompt_tokens is not None:
        budget_tokens = min(budget_tokens, preset.max_prompt_tokens)
    room = max(0, budget_tokens - 3)
    # A file of megabytes is not tokenized for the few thousand tokens that are kept of it.
    most = budget_tokens * MAX_CHARACTERS_A_TOKEN
    prefix, suffix = prefix[-most:], suffix[:most]
    before, after = vocabulary.encode_plain(prefix), vocabulary.encode_plain(suffix)
    for_suffix = min(len(after), max(int(room * preset.suffix_share), room - len(before)))
    for_prefix = min(len(before), room - for_suffix)
    before, after = before[len(before) - for_prefix :], after[:for_suffix]
    prefix_id, suffix_id, middle_id = marker_ids(preset, vocabulary)
    if preset.order == "prefix-suffix-middle":
        return [prefix_id, *before, suffix_id, *after, middle_id]
    return [suffix_id, *after, prefix_id, *before, middle_id]


def marker_ids(preset: Preset, vocabulary: Vocabulary) -> list[int]:
    return [index for marker in preset.markers if (index := vocabulary.token_id(marker)) is not None]


def stop_ids(preset: Preset, vocabulary: Vocabulary) -> list[int]:
    """The preset's stops, and its markers: a model that starts another hole has filled this one."""
    names = dict.fromkeys((*preset.stop, *preset.markers))
    return [index for name in names if (index := vocabulary.token_id(name)) is not None]
