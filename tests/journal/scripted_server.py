"""`python -m tests.journal.scripted_server`: a real process with a scripted engine, for tests that end it harshly."""

import asyncio
import logging
import os
import sys

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.server import serve
from kodify.settings import Settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    endless = os.environ.get("SCRIPT") == "endless"
    pause_s = float(os.environ.get("PAUSE_S", "0"))
    script = Script(pieces=("piece ",) * 20, endless=endless, pause_s=pause_s)
    sys.exit(asyncio.run(serve(Settings.load(), ScriptedEngine(script), Settings.load)))
