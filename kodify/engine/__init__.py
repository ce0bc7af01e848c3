"""The engines: the Protocol they keep, vLLM's adapter, and one that says what it is told."""
