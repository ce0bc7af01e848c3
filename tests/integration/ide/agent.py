"""`tabby-agent`, which Tabby's plugins run beside the editor: driven as they drive it, over its standard streams."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT_S = 30.0

_CONFIG = """
[server]
endpoint = "{endpoint}"
token = "{token}"

[completion.debounce]
mode = "fixed"
interval = 0

[anonymousUsageTracking]
disable = true
"""


def config(endpoint: str, token: str = "") -> str:
    """A config.toml: no waiting between keystrokes, nothing sent elsewhere."""
    return _CONFIG.format(endpoint=endpoint, token=token)


class Spoken:
    """The agent's process, and everything that it has said so far."""

    words: tuple[str, ...]

    def __init__(self, cli: Path, home: Path, config: str) -> None:
        folder = home / ".tabby-client" / "agent"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(config)
        self.data = folder / "data.json"
        self._messages: list[Any] = []
        self._told = threading.Condition()
        self._ids = itertools.count(1)
        with (home / "agent.log").open("wb") as log:
            self._popen = subprocess.Popen(
                ["node", str(cli), *self.words],
                env={"HOME": str(home), "PATH": os.environ["PATH"]},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    def wait(self, wanted: Callable[[Any], bool]) -> Any:
        """The first message that is wanted, of those that came and those to come."""

        def found() -> list[Any]:
            return [message for message in self._messages if wanted(message)]

        with self._told:
            if not self._told.wait_for(found, LIMIT_S):
                raise AssertionError(f"the agent did not say it; it said {self._messages}")
            return found()[0]

    def close(self) -> None:
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(LIMIT_S)
        finally:
            self._popen.kill()
        self._reader.join(LIMIT_S)
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                stream.close()

    def read(self, stream: Any) -> Any:
        """The next message, or None at the end."""
        raise NotImplementedError

    def _write(self, data: bytes) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(data)
        self._popen.stdin.flush()

    def _listen(self) -> None:
        while (message := self.read(self._popen.stdout)) is not None:
            with self._told:
                self._messages.append(message)
                self._told.notify_all()


class LineAgent(Spoken):
    """One JSON array a line: `[id, {func, args}]` there, `[id, result]` back, and `[0, event]`."""

    words = ("--stdio",)

    def ask(self, function: str, *arguments: Any) -> int:
        number = next(self._ids)
        self._write(json.dumps([number, {"func": function, "args": arguments}]).encode() + b"\n")
        return number

    def answer(self, number: int) -> Any:
        return self.wait(lambda message: message[0] == number)[1]

    def call(self, function: str, *arguments: Any) -> Any:
        return self.answer(self.ask(function, *arguments))

    def read(self, stream: Any) -> Any:
        line = stream.readline()
        return json.loads(line) if line else None


class LanguageServer(Spoken):
    """JSON-RPC with `Content-Length`, as the Language Server Protocol frames it."""

    words = ("--lsp", "--stdio")

    def call(self, method: str, params: Any) -> Any:
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        return self.wait(lambda message: message.get("id") == number)["result"]

    def tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def heard(self, method: str) -> Any:
        return self.wait(lambda message: message.get("method") == method)["params"]

    def read(self, stream: Any) -> Any:
        length = 0
        while (line := stream.readline().strip()) or not length:
            if not line:
                return None
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(stream.read(length))

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
