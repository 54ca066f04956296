"""Sessions on the mock agent, as the client opens them: over ACP without naming
an agent first, and read and set over /v1/sessions.

The client never tells the server the id it gives a session, so these tests use
the agent's id where the server must know it; test_session_ids.py has the rest.
"""

import asyncio

import pytest
from conftest import Heard, until
from sandboxagent import SandboxAgent
from sandboxagent.http import SandboxAgentError


def connect(server):
    return SandboxAgent.connect(server.url)


async def option(agent, session, category):
    options = await agent.get_session_config_options(session.agent_session_id)
    return next(entry for entry in options if entry["category"] == category)


async def test_create_session(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        assert session.id
        assert session.agent == "mock"
        assert session.agent_session_id
        servers = (await agent.list_acp_servers())["servers"]
        assert [entry["serverId"] for entry in servers] == ["default"]


async def test_create_session_of_an_unknown_agent(fresh):
    async with await connect(fresh) as agent:
        with pytest.raises(Exception, match="(?i)agent"):
            await agent.create_session(agent="nobody")


async def test_prompt(fresh):
    heard = Heard()
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock", on_message=heard)
        result = await session.prompt("/echo hello there")
        assert result["stopReason"] == "end_turn"
        await until(lambda: heard.text() == "hello there", "the answer")
        for number in range(20):
            assert (await session.prompt(f"/echo <{number}>"))["stopReason"] == "end_turn"
        await until(lambda: heard.text().endswith("<19>"), "the last answer")
        assert heard.text() == "hello there" + "".join(f"<{number}>" for number in range(20))


async def test_messages_are_there_when_a_prompt_returns(fresh):
    """Also those of the first prompt: the client opens its event stream before there is anything to stream."""
    heard = Heard()
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock", on_message=heard)
        said = ""
        for number in range(50):
            await session.prompt(f"/echo <{number}>")
            said += f"<{number}>"
            assert heard.text() == said


async def test_prompt_with_streaming_and_attachments(fresh):
    heard = Heard()
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock", on_message=heard)
        attachments = [{"type": "text", "text": "attached"}]
        assert (await session.prompt("hello", attachments=attachments, streaming=True))["stopReason"] == "end_turn"
        await until(heard.text, "an answer")


async def test_two_sessions_of_one_server_id(fresh):
    """All sessions of all clients go through the server id "default"."""
    async with await connect(fresh) as one, await connect(fresh) as two:
        heard = Heard()
        first = await one.create_session(agent="mock")
        second = await two.create_session(agent="mock", on_message=heard)
        assert first.agent_session_id != second.agent_session_id
        turns = await asyncio.gather(*(session.prompt("/echo hi") for session in (first, second)))
        assert [turn["stopReason"] for turn in turns] == ["end_turn", "end_turn"]


async def test_permission_callback(fresh):
    asked = []

    def allow(request):
        asked.append(request)
        return {"id": request["id"], "outcome": {"outcome": "selected", "optionId": "allow-once"}}

    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock", on_permission_request=allow)
        result = await session.prompt("write allowed.txt with some text")
        assert result["stopReason"] == "end_turn"
        assert len(asked) == 1
        assert asked[0]["sessionId"] == session.agent_session_id
    assert len(list(fresh.home.rglob("allowed.txt"))) == 1


async def test_the_first_answer_to_a_permission_counts(fresh):
    asked = []

    def allow(request):
        asked.append(request)
        return {"id": request["id"], "outcome": {"outcome": "selected", "optionId": "allow-once"}}

    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        agent.on_permission_request(session.id, allow)
        assert (await session.prompt("write first.txt with some text"))["stopReason"] == "end_turn"
        late = {"outcome": {"outcome": "selected", "optionId": "reject-once"}}
        assert await agent.raw_respond_permission(session.id, asked[0]["id"], late) == {"success": True}
        assert await agent.respond_permission(session.id, asked[0]["id"], "cancelled") == {"success": True}
        assert (await session.prompt("/echo on"))["stopReason"] == "end_turn"
    assert len(list(fresh.home.rglob("first.txt"))) == 1


async def test_get_acp_server(fresh):
    """Nothing answers this call: the path is that of the event stream."""
    async with await connect(fresh) as agent:
        await agent.create_session(agent="mock")
        with pytest.raises(SandboxAgentError) as caught:
            await agent.get_acp_server("default")
        assert caught.value.status == 406


async def test_permission_without_a_callback_is_cancelled(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        assert (await session.prompt("write denied.txt with some text"))["stopReason"]
        assert (await session.prompt("/echo on"))["stopReason"] == "end_turn"
    assert list(fresh.home.rglob("denied.txt")) == []


async def test_cancel(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        turn = asyncio.create_task(session.prompt("/silence"))
        await asyncio.sleep(0)

        async def cancelled():
            await session.cancel("3")
            return turn.done()

        await until(cancelled, "the turn to end")
        assert (await turn)["stopReason"] == "cancelled"


async def test_rpc_error(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        with pytest.raises(Exception, match="out of luck") as caught:
            await session.prompt("/error -32603 out of luck")
        assert caught.value.code == -32603
        assert (await session.prompt("/echo on"))["stopReason"] == "end_turn"


async def test_set_model(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        assert isinstance(await agent.set_session_model(session.agent_session_id, "mock-fast"), dict)
        assert (await option(agent, session, "model"))["currentValue"] == "mock-fast"
        with pytest.raises(SandboxAgentError) as caught:
            await agent.set_session_model(session.agent_session_id, "gpt-0")
        assert caught.value.status == 400


async def test_set_mode(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        assert isinstance(await agent.set_session_mode(session.id, "plan"), dict)  # over ACP, as `mode`
        assert (await option(agent, session, "mode"))["currentValue"] == "plan"
        async with await connect(fresh) as other:  # knows no such session: over REST
            assert isinstance(await other.set_session_mode(session.agent_session_id, "normal"), dict)
        assert (await option(agent, session, "mode"))["currentValue"] == "normal"


async def test_set_thought_level(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        assert isinstance(await agent.set_session_thought_level(session.agent_session_id, "high"), dict)
        assert (await option(agent, session, "thought_level"))["currentValue"] == "high"


async def test_set_config_option(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        model = await option(agent, session, "model")
        await agent.set_session_config_option(session.id, model["id"], "mock-fast")  # over ACP
        assert (await option(agent, session, "model"))["currentValue"] == "mock-fast"
        async with await connect(fresh) as other:  # over REST
            answer = await other.set_session_config_option(session.agent_session_id, model["id"], "mock")
        assert isinstance(answer, dict)
        assert (await option(agent, session, "model"))["currentValue"] == "mock"


async def test_create_session_with_a_mode(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock", mode="plan")
        assert (await option(agent, session, "mode"))["currentValue"] == "plan"


async def test_get_session_modes(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        modes = await agent.get_session_modes(session.agent_session_id)
        assert [mode["id"] for mode in modes] == ["normal", "plan"]


async def test_list_sessions(fresh):
    async with await connect(fresh) as agent:
        empty = await agent.list_sessions()
        assert (empty["sessions"], empty["page"], empty["perPage"], empty["total"]) == ([], 1, 10, 0)
        made = [(await agent.create_session(agent="mock")).agent_session_id for _ in range(3)]
        first = await agent.list_sessions(page=1, per_page=2)
        second = await agent.list_sessions(page=2, per_page=2)
        assert (first["total"], second["page"]) == (3, 2)
        assert (len(first["sessions"]), len(second["sessions"])) == (2, 1)
        listed = [entry["agentSessionId"] for page in (first, second) for entry in page["sessions"]]
        assert sorted(listed) == sorted(made)


async def test_get_session(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        record = await agent.get_session(session.agent_session_id)
        assert record.agent == "mock"
        assert record.agent_session_id == session.agent_session_id
        assert record.last_connection_id
        assert record.created_at > 0
        assert record.destroyed_at is None
        assert (await agent.get_session(record.id)).agent_session_id == session.agent_session_id
        with pytest.raises(SandboxAgentError) as caught:
            await agent.get_session("nobody")
        assert caught.value.status == 404


async def test_get_events(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        for number in range(30):
            await session.prompt(f"/echo <{number}>")
        events, page = [], 1
        while True:
            answer = await agent.get_events(session.agent_session_id, page=page, per_page=20)
            assert len(answer["events"]) <= 20
            events += answer["events"]
            if not answer["events"]:
                break
            page += 1
        indexes = [event["eventIndex"] for event in events]
        assert indexes == sorted(set(indexes))
        updates = [event["payload"]["params"]["update"] for event in events if event["payload"].get("method") == "session/update"]
        said = "".join(u["content"]["text"] for u in updates if u["sessionUpdate"] == "agent_message_chunk")
        assert said == "".join(f"<{number}>" for number in range(30))
        prompts = [event for event in events if event["payload"].get("method") == "session/prompt"]
        assert len(prompts) == 30
        assert {event["sender"] for event in prompts} == {"client"}


async def test_resume_session(fresh):
    heard = Heard()
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        await session.prompt("the password is swordfish")
        await agent.destroy_session(session.id)
        agent.on_session_event(session.id, heard)
        resumed = await agent.resume_session(session.id)
        assert resumed.id == session.id
        assert (await resumed.prompt("what did I say"))["stopReason"] == "end_turn"
        await until(lambda: "swordfish" in heard.text(), "the agent to remember")
        with pytest.raises(RuntimeError):
            await agent.resume_session("nobody")


async def test_resume_or_create_session(fresh):
    async with await connect(fresh) as agent:
        created = await agent.resume_or_create_session("mock", config={"mode": "plan"})
        again = await agent.resume_or_create_session("mock", resume_token=created.id)
        assert again.id == created.id
        assert (await again.prompt("/echo hi"))["stopReason"] == "end_turn"


async def test_destroy_session(fresh):
    async with await connect(fresh) as agent:
        closed = []
        session = await agent.create_session(agent="mock", on_close=lambda: closed.append(True))
        await agent.destroy_session(session.id)
        assert closed == [True]
        assert (await agent.list_acp_servers())["servers"] == []
        assert (await agent.get_session(session.agent_session_id)).agent_session_id == session.agent_session_id


async def test_session_events_and_transcript(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        heard = Heard()
        leave = agent.on_session_event(session.id, heard)
        session.track_events()
        await session.prompt("/echo for the transcript")
        await until(lambda: heard.text() == "for the transcript", "the answer")
        assert "for the transcript" in session.get_transcript()
        leave()


async def test_load_session(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        await session.prompt("/echo hi")
        assert isinstance(await session.load_session(session.agent_session_id), dict)
        assert (await session.prompt("/echo on"))["stopReason"] == "end_turn"


async def test_session_attach_terminal(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        process = await agent.create_process({"command": "/bin/sh", "args": ["-c", "exit 4"], "tty": True})
        codes = []
        terminal = await session.attach_terminal(process["id"], on_exit=lambda frame: codes.append(frame.exit_code))
        await until(terminal.closed.done, "the exit")
        assert codes == [4]


async def test_session_config(fresh):
    async with await connect(fresh) as agent:
        session = await agent.create_session(agent="mock")
        path = f"/v1/sessions/{session.agent_session_id}"
        transport = agent._transport  # the session's own calls use its local id
        mcp = {"mcpServers": {"tools": {"type": "local", "command": "x", "args": []}}}
        await transport.put(f"{path}/mcp/config", json=mcp)
        assert (await transport.get(f"{path}/mcp/config")).json()["mcpServers"] == mcp["mcpServers"]
        await transport.put(f"{path}/skills/config", json={"sources": []})
        assert isinstance((await transport.get(f"{path}/skills/config")).json(), dict)
