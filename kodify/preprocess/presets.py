"""Fill-in-the-middle presets: how a model family's prompt is put together, and which family a model is of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kodify.engine.base import Vocabulary
from kodify.errors import ConfigError
from kodify.preprocess.trim import TrimRules
from kodify.shipped import find_file, shipped_folder

PRESETS = shipped_folder("preprocess_configs")


class RepositoryForm(BaseModel):
    """How a family is told of other files: a marker, a path, a newline and the file's text, for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(description="Marker before each file's path.")
    name: str | None = Field(None, description="Marker before the repository's name.")
    after_name: str = Field("", description="Text after the repository's name.")
    after_file: str = Field("", description="Text after each other file's text.")
    path_inside: bool = Field(
        False, description="The path of the file being written stands after the prefix marker, not before it."
    )


class Preset(BaseModel):
    """A family's prompt. Each marker must be one token of the model's tokenizer. One JSON file each."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: str | None = Field(None, alias="$schema")
    name: str
    bos: str | None = Field(None, description="Token that begins the prompt.")
    prefix: str = Field(description="Marker before the text before the cursor.")
    suffix: str = Field(description="Marker before the text after the cursor.")
    middle: str | None = Field(description="Marker that ends the prompt; null where the format has none.")
    order: Literal["prefix-suffix-middle", "suffix-prefix-middle"] = "prefix-suffix-middle"
    prefix_space: bool = Field(
        False, description="The prefix keeps the leading space that SentencePiece tokenizers begin a text with."
    )
    needs: tuple[str, ...] = Field(
        (), description="Further tokens by which the family is told from another one with the same markers."
    )
    stop: tuple[str, ...] = Field((), description="Tokens that end a completion, beside the markers.")
    stop_texts: tuple[str, ...] = Field((), description="Texts that end a completion.")
    repo: RepositoryForm | None = Field(None, description="Absent: other files go before the prefix as comments.")
    suffix_share: float = Field(
        0.25, gt=0, lt=1, description="Of the room for the prompt; what the suffix leaves goes to the prefix."
    )
    context_share: float = Field(0.25, ge=0, lt=1, description="Of the room for the prompt, for other files.")
    max_prompt_tokens: int | None = Field(None, ge=16, description="For a model trained on short pieces only.")
    max_tokens: int = Field(64, ge=1, description="A completion's length where the request names none.")
    temperature: float = Field(0.1, ge=0, le=2, description="Where the request names none.")
    rules: TrimRules = Field(default_factory=TrimRules, description="Where a completion is cut after the model.")

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(marker for marker in (self.prefix, self.suffix, self.middle) if marker is not None)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every prompt needs them."""
        return self.markers if self.bos is None else (*self.markers, self.bos)

    @property
    def every_token(self) -> tuple[str, ...]:
        """All that it names, whether a prompt needs them or not."""
        form = (self.repo.file, self.repo.name) if self.repo is not None else ()
        names = (*self.tokens, *self.needs, *self.stop, *form)
        return tuple(dict.fromkeys(name for name in names if name is not None))

    def fits(self, vocabulary: Vocabulary) -> bool:
        return all(vocabulary.token_id(token) is not None for token in (*self.tokens, *self.needs))

    def within(self, vocabulary: Vocabulary) -> Preset:
        """Without the markers of the repository's form that the tokenizer lacks."""
        form = self.repo
        if form is None:
            return self
        if vocabulary.token_id(form.file) is None:
            return self.model_copy(update={"repo": None})
        if form.name is not None and vocabulary.token_id(form.name) is None:
            return self.model_copy(update={"repo": form.model_copy(update={"name": None})})
        return self


@dataclass(frozen=True, slots=True)
class Choice:
    """The preset, if there is one, and how it was found."""

    preset: Preset | None
    how: str = ""

    @property
    def label(self) -> str:
        return f"{self.preset.name} ({self.how})" if self.preset else "none: the model has no such tokens"


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
) -> Choice:
    """The configured preset, or the model's own (`fim.json` in its folder), or the shipped one whose tokens the
    tokenizer has; where several fit, the one that names the most.

    Raises ConfigError where the preset that was asked for has markers that are not the tokenizer's.
    """
    own = Path(model_folder) / "fim.json"
    how = "configured"
    if configured is None and model_folder and own.is_file():
        configured, how = str(own), "the model's own"
    if configured is not None:
        preset = read_preset(find_file(configured))
        lacking = [token for token in preset.tokens if vocabulary.token_id(token) is None]
        if lacking:
            raise ConfigError(
                f"The preset {configured} has the marker {lacking[0]}, which is not one token of this model: set "
                "COMPLETIONS_PREPROCESSING_CONFIG to the preset of its family, or leave it unset."
            )
        return Choice(preset.within(vocabulary), how)
    candidates = map(read_preset, sorted(PRESETS.glob("*.json")) if shipped is None else shipped)
    fitting = [preset for preset in candidates if preset.fits(vocabulary)]
    if not fitting:
        return Choice(None)
    found = max(fitting, key=lambda preset: len(preset.tokens) + len(preset.needs))
    return Choice(found.within(vocabulary), "found from the tokenizer")
