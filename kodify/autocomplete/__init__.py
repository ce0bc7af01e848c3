"""Completions in the editor, whichever door they came by: trimmed, superseded, remembered."""
