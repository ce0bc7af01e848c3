"""The side-by-side benchmark: vLLM's own server, a gateway before it, and Kodify, under the same load."""
