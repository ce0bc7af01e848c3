"""The developer's side of the command line: a server is asked, and its answer is shown on a terminal."""
