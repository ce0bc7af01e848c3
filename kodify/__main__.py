"""`python -m kodify`."""

from kodify.cli import main

if __name__ == "__main__":  # vLLM's spawned processes import this module again
    main()
