"""Fill-in-the-middle: a prefix, a suffix and pieces of other files into one prompt of token ids."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kodify.engine.base import Vocabulary
from kodify.preprocess.presets import Preset, RepositoryForm

MAX_CHARACTERS_A_TOKEN = 64


def render(
    preset: Preset,
    vocabulary: Vocabulary,
    before: Sequence[int],
    after: Sequence[int],
    blocks: Sequence[Sequence[int]] = (),
    *,
    repository: str | None = None,
    path: str | None = None,
) -> list[int]:
    """The prompt. Nothing is trimmed: beside its texts it costs `len(render(preset, vocabulary, (), ()))` tokens.

    `blocks` are other files: with a repository's form as `encode_file` makes them, else comment lines, which are put
    before the prefix. `repository` and `path`, of the file being written, are told with a repository's form only.
    """
    form = preset.repo if blocks else None
    ids = _marker(preset.bos, vocabulary)
    inside: list[int] = []
    if form is None:
        inside = [index for block in blocks for index in block]
    else:
        name, file = _marker(form.name, vocabulary), _marker(form.file, vocabulary)
        if name and repository:
            ids += [*name, *vocabulary.encode_plain(repository + form.after_name, continues=True)]
        for block in blocks:
            ids += [*file, *block]
        ids += file
        title = vocabulary.encode_plain(f"{path}\n", continues=True) if path else []
        if form.path_inside:
            inside = title
        else:
            ids += title
    prefix = [*_marker(preset.prefix, vocabulary), *inside, *before]
    suffix = [*_marker(preset.suffix, vocabulary), *after]
    parts = (prefix, suffix) if preset.order == "prefix-suffix-middle" else (suffix, prefix)
    return [*ids, *parts[0], *parts[1], *_marker(preset.middle, vocabulary)]


def encode_before(preset: Preset, vocabulary: Vocabulary, text: str, *, first: bool = True) -> list[int]:
    """Text of the prefix's part; `first`: no block stands before it there."""
    return vocabulary.encode_plain(text, continues=not (first and preset.prefix_space))


def encode_after(vocabulary: Vocabulary, text: str) -> list[int]:
    return vocabulary.encode_plain(text, continues=True)


def encode_file(form: RepositoryForm, vocabulary: Vocabulary, path: str, text: str) -> list[int]:
    """Another file, without its marker."""
    return vocabulary.encode_plain(f"{path}\n{text}{form.after_file}", continues=True)


def fill_in_the_middle(
    preset: Preset, vocabulary: Vocabulary, prefix: str, suffix: str, budget_tokens: int
) -> list[int]:
    """At most `budget_tokens` ids: the prefix loses its start and the suffix its end, never a marker."""
    if preset.max_prompt_tokens is not None:
        budget_tokens = min(budget_tokens, preset.max_prompt_tokens)
    room = max(0, budget_tokens - len(render(preset, vocabulary, (), ())))
    # A file of megabytes is not tokenized for the few thousand tokens that are kept of it.
    most = budget_tokens * MAX_CHARACTERS_A_TOKEN
    before = encode_before(preset, vocabulary, prefix[-most:])
    after = encode_after(vocabulary, suffix[:most])
    for_suffix = min(len(after), max(int(room * preset.suffix_share), room - len(before)))
    for_prefix = min(len(before), room - for_suffix)
    return render(preset, vocabulary, before[len(before) - for_prefix :], after[:for_suffix])


def stop_ids(preset: Preset, vocabulary: Vocabulary) -> list[int]:
    """The preset's stops, and its markers: a model that starts another hole or file has filled this one."""
    form = preset.repo
    names: Iterable[str | None] = (*preset.stop, *preset.markers, *((form.file, form.name) if form else ()))
    return [index for name in dict.fromkeys(names) for index in _marker(name, vocabulary)]


def _marker(marker: str | None, vocabulary: Vocabulary) -> list[int]:
    index = None if marker is None else vocabulary.token_id(marker)
    return [] if index is None else [index]
