"""Prompts of the families, token by token."""
