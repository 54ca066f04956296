"""Shared by all tests: the server under test and coroutine tests."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pytest

BINARY = os.environ.get("SANDBOX_AGENT_BIN")
# Long enough that only a hang reaches it.
PATIENCE = float(os.environ.get("CONFORMANCE_PATIENCE_MS", "60000")) / 1000


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


async def until(check, what: str):
    """Polls check, a function or coroutine function, until it is true; returns its value."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = check()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"gave up waiting: {what}"
        await asyncio.sleep(0.01)


class Heard:
    """Collects the messages of a session."""

    def __init__(self):
        self.messages = []

    def __call__(self, message):
        self.messages.append(message)

    def updates(self):
        return [m["params"]["update"] for m in self.messages if m.get("method") == "session/update"]

    def text(self):
        chunks = [u for u in self.updates() if u["sessionUpdate"] == "agent_message_chunk"]
        return "".join(chunk["content"]["text"] for chunk in chunks)


def server_env(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


class Server:
    """A running server with a home of its own."""

    def __init__(self, token: str | None = None, data: Path | None = None, env: dict[str, str] | None = None) -> None:
        assert BINARY, "SANDBOX_AGENT_BIN must name the server binary; use conformance/run"
        self.token = token
        self.home = Path(tempfile.mkdtemp(prefix="conformance-home-")).resolve()
        options = ["--token", token] if token else ["--no-token"]
        if data:
            options += ["--data-dir", str(data)]
        self.process = subprocess.Popen(
            [BINARY, "server", "--host", "127.0.0.1", "--port", "0", *options],
            env=server_env(self.home) | (env or {}),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.url = self._find_url()
        except BaseException:
            self.process.kill()
            raise

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output = (self.output + line)[-65536:]

    def _find_url(self) -> str:
        deadline = time.monotonic() + PATIENCE
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"server ended at start:\n{self.output}"
            found = re.search(r"http://127\.0\.0\.1:\d+", self.output)
            if found:
                try:
                    if httpx.get(f"{found[0]}/v1/health", headers=headers).is_success:
                        return found[0]
                except httpx.TransportError:
                    pass
            time.sleep(0.02)
        raise AssertionError(f"no healthy server:\n{self.output}")

    def stop(self) -> None:
        """Sends SIGTERM; fails unless the server then ends by itself."""
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"server did not end after SIGTERM:\n{self.output}") from None
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def locked():
    """A server with a token."""
    server = Server(token="s3cret-token")
    yield server
    server.stop()


@pytest.fixture
def fresh():
    """A server that no other test uses."""
    server = Server()
    yield server
    server.stop()
