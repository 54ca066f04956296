"""The client's own local provider starts the server under test; the lifecycle
calls then go to the server."""

import tempfile
from pathlib import Path

import httpx
from conftest import BINARY, server_env, until
from sandboxagent import SandboxAgent
from sandboxagent.providers.local import LocalProvider, LocalProviderOptions

TOKEN = "lifecycle-token"


class Started:
    """A sandbox of the local provider, with a home of its own unless given one."""

    def __init__(self, home=None):
        self.home = home

    async def __aenter__(self):
        home = self.home or Path(tempfile.mkdtemp(prefix="conformance-home-"))
        # Options left out would reach the spawn as None, which it does not take.
        options = LocalProviderOptions(host="127.0.0.1", token=TOKEN, binary_path=BINARY, log_mode="silent", env=server_env(home))
        self.provider = LocalProvider(options)
        self.agent = await SandboxAgent.start(provider=self.provider, token=TOKEN)
        [(self.sandbox_id, handle)] = self.provider._sandboxes.items()
        self.process = handle.process
        return self

    async def __aexit__(self, *exc):
        await self.agent.dispose()
        await self.provider.destroy(self.sandbox_id)

    async def reachable(self):
        try:
            async with httpx.AsyncClient() as probe:
                await probe.get(f"http://{self.sandbox_id}/v1/health")
            return True
        except httpx.TransportError:
            return False


def state(pid: int) -> str:
    """The state letter of a process; X when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except FileNotFoundError:
        return "X"


# No shell: one that is stopped while it forks is in state D, not T.
SLEEPER = {"command": "/bin/sleep", "args": ["600"]}


async def test_pause_sandbox():
    async with Started() as sandbox:
        process = await sandbox.agent.create_process(SLEEPER)
        await sandbox.agent.pause_sandbox()
        await until(lambda: state(process["pid"]) == "T", "the process to stand still")
        assert (await sandbox.agent.health())["status"] == "ok"
        await sandbox.agent.pause_sandbox()  # may be repeated
        await sandbox.agent.resume_sandbox()


async def test_resume_sandbox():
    async with Started() as sandbox:
        process = await sandbox.agent.create_process(SLEEPER)
        await sandbox.agent.pause_sandbox()
        await until(lambda: state(process["pid"]) == "T", "the process to stand still")
        await sandbox.agent.resume_sandbox()
        await until(lambda: state(process["pid"]) in "SR", "the process to go on")


async def test_pause_and_resume_of_an_agent():
    async with Started() as sandbox:
        session = await sandbox.agent.create_session(agent="mock")
        await sandbox.agent.pause_sandbox()
        await sandbox.agent.resume_sandbox()
        assert (await session.prompt("/echo awake"))["stopReason"] == "end_turn"


async def test_restart_sandbox():
    async with Started() as sandbox:
        process = await sandbox.agent.create_process(SLEEPER)
        await sandbox.agent.create_session(agent="mock")
        await sandbox.agent.restart_sandbox()
        await sandbox.agent.wait_for_health()
        await until(lambda: state(process["pid"]) in "ZX", "the process to be gone")
        servers = (await sandbox.agent.list_acp_servers())["servers"]
        assert [entry for entry in servers if entry["status"] != "exited"] == []
        session = await sandbox.agent.create_session(agent="mock")
        assert (await session.prompt("/echo anew"))["stopReason"] == "end_turn"


async def test_destroy_sandbox():
    async with Started() as sandbox:
        process = await sandbox.agent.create_process(SLEEPER)
        await sandbox.agent.destroy_sandbox()
        assert sandbox.agent.sandbox is None
        await until(lambda: sandbox.process.returncode is not None, "the server to end")
        assert state(process["pid"]) in "ZX"
        assert not await sandbox.reachable()


async def test_kill_sandbox():
    async with Started() as sandbox:
        process = await sandbox.agent.create_process(SLEEPER)
        await sandbox.agent.kill_sandbox()
        assert sandbox.agent.sandbox is None
        await until(lambda: sandbox.process.returncode is not None, "the server to end")
        await until(lambda: state(process["pid"]) in "ZX", "the process to be gone")
        assert not await sandbox.reachable()


async def test_two_sandboxes_of_one_user():
    home = Path(tempfile.mkdtemp(prefix="conformance-home-"))
    async with Started(home) as first, Started(home) as second:
        assert (await first.agent.health())["status"] == "ok"
        assert (await second.agent.health())["status"] == "ok"
        assert first.sandbox_id != second.sandbox_id
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            versions = [(await client.get(f"http://{s.sandbox_id}/v1/version")).json() for s in (first, second)]
        assert versions[0]["dataDir"] != versions[1]["dataDir"]
