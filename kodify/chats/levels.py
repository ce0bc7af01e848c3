"""Who an answer is written for: what the model is told of its reader."""

from __future__ import annotations

LEVELS = {
    "beginner": (
        "The reader is new to programming. Explain step by step and in plain words, and say what each term means when "
        "it first comes up. Give small complete examples that run as they are, and say what they print. Prefer the "
        "simplest way that is right, and warn of the usual mistakes. Answer in the language of the question."
    ),
    "experienced": (
        "The reader programs every day. Come to the point, and explain what is not obvious: why this way, what it "
        "costs, where it breaks. Give code that could be reviewed, with its error handling. Leave the basics out. "
        "Answer in the language of the question."
    ),
    "professional": (
        "The reader is an expert of the field. Be brief and exact: code first, then only what matters, such as "
        "edge cases, complexity, concurrency, security and alternatives with their trade-offs. Use the field's terms "
        "without explaining them. Answer in the language of the question."
    ),
}
