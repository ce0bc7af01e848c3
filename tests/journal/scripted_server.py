"""`python -m tests.journal.scripted_server`: a real process with a scripted engine, for tests that end it harshly."""

import asyncio
import logging
import os

from kodify.engine.scripted import Script, ScriptedEngine
from kodify.server import serve
from kodify.settings import Settings

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    endless = os.environ.get("SCRIPT") == "endless"
    asyncio.run(serve(Settings.load(), ScriptedEngine(Script(pieces=("piece ",) * 20, endless=endless))))
