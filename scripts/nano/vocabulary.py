"""The nano model's tokenizer: byte-level BPE with Qwen2.5-Coder's pre-tokenization and special tokens."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, Qwen2Tokenizer

VOCABULARY_SIZE = 4096
# Qwen2's pattern: transformers rebuilds it for this tokenizer class, so training must use the same.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
MARKERS = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
]  # fmt: skip
CHAT_TEMPLATE = """\
{%- if tools %}
{{- "<|im_start|>system\\n" }}
{%- if messages[0].role == "system" %}{{- messages[0].content + "\\n\\n" }}{% endif %}
{{- "You can call these functions, one JSON object a line:\\n<tools>" }}
{%- for tool in tools %}{{- "\\n" + (tool | tojson) }}{% endfor %}
{{- "\\n</tools>\\nA call is written as\\n<tool_call>\\n" }}
{{- '{"name": "<function>", "arguments": {}}' + "\\n</tool_call><|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == "system" and tools and loop.first %}{% continue %}{% endif %}
{%- if message.role == "tool" %}
{{- "<|im_start|>user\\n<tool_response>\\n" + message.content + "\\n</tool_response><|im_end|>\\n" }}
{%- else %}
{{- "<|im_start|>" + message.role + "\\n" + (message.content or "") }}
{%- for call in message.tool_calls or [] %}
{%- set function = call.function or call %}
{{- "\\n<tool_call>\\n" + ({"name": function.name, "arguments": function.arguments} | tojson) + "\\n</tool_call>" }}
{%- endfor %}
{{- "<|im_end|>\\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\\n" }}{% endif %}
"""


def train(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(SPECIAL) - len(MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKERS])
    if tokenizer.get_vocab_size() != VOCABULARY_SIZE:
        raise SystemExit(f"the vocabulary has {tokenizer.get_vocab_size()} entries, not {VOCABULARY_SIZE}")
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path, context: int, samples: list[str]) -> None:
    """Writes the files that transformers reads, and makes sure that it reads the same tokenizer back."""
    Qwen2Tokenizer(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        model_max_length=context,
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in samples:
        if loaded.encode(text, add_special_tokens=False) != tokenizer.encode(text, add_special_tokens=False).ids:
            raise SystemExit("transformers reads back another tokenizer than the one trained")
