"""A request into a prompt: pure functions."""
