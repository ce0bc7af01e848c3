"""HTTP: one module a dialect, and what they share."""
