import base64
import os
import signal
from pathlib import Path

import pytest
from conftest import until
from sandboxagent import SandboxAgent
from sandboxagent.http import SandboxAgentError


def connect(server):
    return SandboxAgent.connect(server.url)


def sh(script, **more):
    return {"command": "/bin/sh", "args": ["-c", script], **more}


def output(logs):
    return b"".join(base64.b64decode(entry["data"]) for entry in logs["entries"]).decode()


async def exited(agent, process_id):
    async def ended():
        info = await agent.get_process(process_id)
        return info if info["status"] == "exited" else None

    return await until(ended, f"{process_id} to exit")


def trap(folder: Path) -> str:
    """A script that names each signal it gets in a file and goes on."""
    traps = " ".join(f"trap 'echo {name} >> {folder}/got' {name};" for name in ("TERM", "INT", "USR1"))
    return f"{traps} touch {folder}/ready; while :; do sleep 0.02; done"


async def trapping(agent, folder: Path) -> str:
    process = await agent.create_process(sh(trap(folder)))
    await until((folder / "ready").exists, "the traps")
    return process["id"]


async def caught_signal(folder: Path) -> str:
    """The first signal that trap saw."""
    got = folder / "got"
    names = await until(lambda: got.exists() and got.read_text().split(), "the signal")
    return names[0]


async def test_run_process(server, tmp_path):
    async with await connect(server) as agent:
        result = await agent.run_process(sh('pwd; echo "$A" >&2; exit 3', cwd=str(tmp_path), env={"A": "b"}))
        assert result["exitCode"] == 3
        assert result["stdout"] == f"{tmp_path}\n"
        assert result["stderr"] == "b\n"
        assert result["timedOut"] is False


async def test_run_process_with_timeouts(server):
    async with await connect(server) as agent:
        assert (await agent.run_process(sh("sleep 25", timeoutMs=300)))["timedOut"] is True
        # clone_repo sends its limit so, in seconds.
        assert (await agent.run_process(sh("sleep 25", timeout=1)))["timedOut"] is True


async def test_create_process(server, tmp_path):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("exit 7", cwd=str(tmp_path)))
        assert process["id"] and process["command"] == "/bin/sh" and process["cwd"] == str(tmp_path)
        assert (await exited(agent, process["id"]))["exitCode"] == 7


async def test_list_processes(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("sleep 600"))
        assert process["id"] in [entry["id"] for entry in await agent.list_processes()]
        assert process["id"] in [entry["id"] for entry in await agent.list_processes(owner="user")]
        assert process["id"] not in [entry["id"] for entry in await agent.list_processes(owner="desktop")]
        await agent.kill_process(process["id"])


async def test_get_process(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("sleep 600"))
        info = await agent.get_process(process["id"])
        assert info["status"] == "running" and info["pid"] == process["pid"]
        await agent.kill_process(process["id"])
        with pytest.raises(SandboxAgentError) as caught:
            await agent.get_process("proc_none")
        assert caught.value.status == 404


@pytest.mark.parametrize("name, sent", [("USR1", "SIGUSR1"), ("INT", "INT"), ("TERM", None)])
async def test_stop_process(server, tmp_path, name, sent):
    async with await connect(server) as agent:
        process_id = await trapping(agent, tmp_path)
        await agent.stop_process(process_id, signal=sent)
        assert await caught_signal(tmp_path) == name
        await agent.kill_process(process_id)


async def test_stop_process_with_sigterm_ends_it(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("sleep 600"))
        await agent.stop_process(process["id"], signal="SIGTERM")
        await exited(agent, process["id"])


async def test_kill_process(server, tmp_path):
    async with await connect(server) as agent:
        process_id = await trapping(agent, tmp_path)
        assert (await agent.kill_process(process_id, signal="SIGUSR1"))["id"] == process_id
        assert await caught_signal(tmp_path) == "USR1"
        assert (await agent.get_process(process_id))["status"] == "running"
        assert (await agent.kill_process(process_id))["id"] == process_id
        await exited(agent, process_id)


async def test_an_unknown_signal_is_refused(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("sleep 600"))
        with pytest.raises(SandboxAgentError) as caught:
            await agent.stop_process(process["id"], signal="SIGNONSENSE")
        assert caught.value.status == 400
        with pytest.raises(SandboxAgentError) as caught:
            await agent.kill_process(process["id"], signal="SIGNONSENSE")
        assert caught.value.status == 400
        os.kill(process["pid"], signal.SIG_DFL)  # it lives
        await agent.kill_process(process["id"])


async def test_delete_process(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("sleep 600"))
        with pytest.raises(SandboxAgentError) as caught:
            await agent.delete_process(process["id"])
        assert caught.value.status == 409
        await agent.kill_process(process["id"])
        await exited(agent, process["id"])
        await agent.delete_process(process["id"])
        with pytest.raises(SandboxAgentError):
            await agent.get_process(process["id"])


async def test_send_input(server):
    async with await connect(server) as agent:
        process = await agent.create_process({"command": "/bin/cat"})
        await agent.send_input(process["id"], base64.b64encode(b"hello\n").decode())

        async def echoed():
            return output(await agent.get_process_logs(process["id"])) == "hello\n"

        await until(echoed, "the echo")
        await agent.kill_process(process["id"])


async def test_get_process_logs(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("echo out; echo err >&2"))
        await exited(agent, process["id"])
        logs = await agent.get_process_logs(process["id"], follow=False)
        assert logs["processId"] == process["id"]
        assert sorted(output(logs).split()) == ["err", "out"]


async def test_follow_process_logs(server, tmp_path):
    async with await connect(server) as agent:
        process = await agent.create_process(sh(f"echo past; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo live"))
        entries = []
        subscription = await agent.follow_process_logs(process["id"], entries.append)
        await until(lambda: output({"entries": entries}) == "past\n", "the past")
        (tmp_path / "go").touch()
        await until(subscription.closed.done, "the stream to end with the process")
        assert output({"entries": entries}) == "past\nlive\n"
        assert entries == (await agent.get_process_logs(process["id"]))["entries"]


async def test_follow_process_logs_ends_when_closed(server):
    async with await connect(server) as agent:
        process = await agent.create_process(sh("echo one; sleep 600"))
        entries = []
        subscription = await agent.follow_process_logs(process["id"], entries.append)
        await until(lambda: entries, "the first entry")
        subscription.close()
        await until(subscription.closed.done, "the end")
        await agent.kill_process(process["id"])


class Heard:
    """All that a terminal said."""

    def __init__(self, terminal):
        self.ready, self.exit, self.errors, self.data, self.closed = [], [], [], b"", 0
        terminal.on_ready(self.ready.append)
        terminal.on_exit(self.exit.append)
        terminal.on_error(self.errors.append)
        terminal.on_data(self._data)
        terminal.on_close(self._close)

    def _data(self, data):
        self.data += data

    def _close(self):
        self.closed += 1


async def test_connect_process_terminal(locked):
    async with await SandboxAgent.connect(locked.url, token=locked.token) as agent:
        assert agent.build_process_terminal_websocket_url("p").endswith(f"/v1/processes/p/terminal/ws?access_token={locked.token}")
        process = await agent.create_process(sh('read line; stty size; read line; echo "got $line"; exit 5', tty=True))
        terminal = await agent.connect_process_terminal(process["id"])
        heard = Heard(terminal)
        await until(lambda: heard.ready, "ready")
        assert heard.ready[0].process_id == process["id"]
        assert terminal.websocket.subprotocol is None
        terminal.resize(97, 31)
        terminal.send_input("\n")
        await until(lambda: b"31 97" in heard.data, "the new size")
        terminal.send_input("héllo\n".encode())
        await until(terminal.closed.done, "the terminal to close after the exit")
        assert heard.data.decode() == "\r\n31 97\r\nhéllo\r\ngot héllo\r\n"
        assert [frame.exit_code for frame in heard.exit] == [5]
        assert heard.errors == []
        assert heard.closed == 1


async def test_closing_a_terminal_leaves_the_process(server):
    async with await connect(server) as agent:
        process = await agent.create_process({"command": "/bin/cat", "tty": True})
        terminal = await agent.connect_process_terminal(process["id"])
        heard = Heard(terminal)
        await until(lambda: heard.ready, "ready")
        await terminal.close()
        assert (await agent.get_process(process["id"]))["status"] == "running"
        await agent.kill_process(process["id"])


async def test_resize_process_terminal(server):
    async with await connect(server) as agent:
        process = await agent.create_process({"command": "/bin/cat", "tty": True})
        assert await agent.resize_process_terminal(process["id"], 97, 31) == {"cols": 97, "rows": 31}
        await agent.kill_process(process["id"])
        piped = await agent.create_process({"command": "/bin/cat"})
        with pytest.raises(SandboxAgentError) as caught:
            await agent.resize_process_terminal(piped["id"], 97, 31)
        assert caught.value.status == 409
        await agent.kill_process(piped["id"])


async def test_terminal_refusals(locked):
    async with await SandboxAgent.connect(locked.url, token=locked.token) as agent:
        process = await agent.create_process({"command": "/bin/cat", "tty": True})
        with pytest.raises(ConnectionError):
            await agent.connect_process_terminal("proc_none")
        async with await SandboxAgent.connect(locked.url, token="wrong", skip_health_check=True) as stranger:
            with pytest.raises(ConnectionError):
                await stranger.connect_process_terminal(process["id"])
        await agent.kill_process(process["id"])
