"""Every call of sessions on a real agent: Claude Code with a scripted model in
place of its vendor's. Only the install uses the network."""

import json
import os
import re
import subprocess
from pathlib import Path

import httpx
import pytest
from conftest import BINARY, Heard, Server, until
from sandboxagent import SandboxAgent

# Where agents are installed once, by these tests and those beside them.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sandbox-agent-conformance" / "data"


@pytest.fixture(scope="module")
def model():
    """The address of a scripted model."""
    process = subprocess.Popen([BINARY, "fakemodel"], stdout=subprocess.PIPE, text=True)
    yield re.search(r"http://\S+", process.stdout.readline())[0]
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def claude(model, tmp_path_factory):
    """A server that has Claude Code, which uses the model."""
    subprocess.run([BINARY, "agents", "install", "claude", "--data-dir", CACHE], check=True)
    data = tmp_path_factory.mktemp("data")
    for name in ("bin", "store"):
        (data / name).symlink_to(CACHE / name)
    server = Server(data=data, env={"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "key"})
    yield server
    server.stop()


def heard(model):
    """What the model was told, the newest last."""
    return [json.dumps(request) for request in httpx.get(f"{model}/__requests").json()]


async def option(agent, session, category):
    options = await agent.get_session_config_options(session.id)
    return next(entry for entry in options if entry["category"] == category)


async def test_create_with_settings_and_prompt(claude, model):
    said = Heard()
    async with await SandboxAgent.connect(claude.url) as agent:
        session = await agent.create_session(agent="claude", model="sonnet", mode="plan", thought_level="high", on_message=said)
        assert session.agent_session_id
        chosen = {category: (await option(agent, session, category))["currentValue"] for category in ("model", "mode", "thought_level")}
        assert chosen == {"model": "sonnet", "mode": "plan", "thought_level": "high"}
        assert (await session.prompt("tell me of the hoopoe"))["stopReason"] == "end_turn"
        await until(lambda: "You said: tell me of the hoopoe" in said.text(), "the answer")
        assert "tell me of the hoopoe" in heard(model)[-1]
        await agent.destroy_session(session.id)


async def test_settings(claude):
    async with await SandboxAgent.connect(claude.url) as agent:
        session = await agent.create_session(agent="claude")
        await agent.set_session_model(session.id, "haiku")
        assert (await option(agent, session, "model"))["currentValue"] == "haiku"
        await agent.set_session_model(session.id, "opus")
        await agent.set_session_thought_level(session.id, "low")
        effort = await option(agent, session, "thought_level")
        assert effort["currentValue"] == "low"
        await agent.set_session_config_option(session.id, effort["id"], "medium")  # over ACP
        assert (await option(agent, session, "thought_level"))["currentValue"] == "medium"
        await agent.set_session_mode(session.id, "acceptEdits")  # over ACP, as `mode`
        assert (await option(agent, session, "mode"))["currentValue"] == "acceptEdits"
        assert "plan" in [mode["id"] for mode in await agent.get_session_modes(session.id)]
        async with await SandboxAgent.connect(claude.url) as other:  # knows no such session: over REST
            await other.set_session_mode(session.agent_session_id, "plan")
            await other.set_session_config_option(session.agent_session_id, effort["id"], "high")
        assert (await option(agent, session, "mode"))["currentValue"] == "plan"
        assert (await option(agent, session, "thought_level"))["currentValue"] == "high"
        await agent.destroy_session(session.id)


async def test_list_get_events(claude):
    async with await SandboxAgent.connect(claude.url) as agent:
        session = await agent.create_session(agent="claude")
        await session.prompt("first words")
        await session.prompt("second words")
        listed = (await agent.list_sessions())["sessions"]
        assert session.agent_session_id in [entry["agentSessionId"] for entry in listed]
        record = await agent.get_session(session.id)
        assert (record.agent, record.agent_session_id) == ("claude", session.agent_session_id)
        events, page = [], 1
        while more := (await agent.get_events(session.id, page=page, per_page=5))["events"]:
            events, page = events + more, page + 1
        assert [event["eventIndex"] for event in events] == list(range(1, len(events) + 1))
        prompts = [event["payload"]["params"]["prompt"] for event in events if event["payload"].get("method") == "session/prompt"]
        assert ["".join(block["text"] for block in prompt) for prompt in prompts] == ["first words", "second words"]
        await agent.destroy_session(session.id)


async def test_destroy_and_resume(claude, model):
    async with await SandboxAgent.connect(claude.url) as agent:
        session = await agent.create_session(agent="claude")
        await session.prompt("my favourite bird is the ibis")
        await agent.destroy_session(session.id)
        assert (await agent.list_acp_servers())["servers"] == []
        resumed = await agent.resume_session(session.id)
        assert resumed.id == session.id
        told = len(heard(model))
        assert (await resumed.prompt("which bird do I like"))["stopReason"] == "end_turn"
        assert any("ibis" in request for request in heard(model)[told:])
        await agent.destroy_session(resumed.id)


async def test_permission(claude):
    asked = []

    def allow(request):
        asked.append(request)
        once = next(option for option in request["permission"]["options"] if option["kind"] == "allow_once")
        return {"id": request["id"], "outcome": {"outcome": "selected", "optionId": once["optionId"]}}

    async with await SandboxAgent.connect(claude.url) as agent:
        session = await agent.create_session(agent="claude", mode="default", on_permission_request=allow)
        assert (await session.prompt("write allowed.txt with some text"))["stopReason"] == "end_turn"
        assert len(asked) == 1
        assert (claude.home / "allowed.txt").read_text().strip() == "some text"
        await agent.destroy_session(session.id)
