"""The client names a session by an id of its own, which it first uses in a call
of /v1/sessions, never when it opens the session. These are the calls every user
of it writes."""

from sandboxagent import SandboxAgent


async def test_create_session_with_model_and_thought_level(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        session = await agent.create_session(agent="mock", model="mock-fast", thought_level="high", mode="plan")
        options = {entry["category"]: entry["currentValue"] for entry in await agent.get_session_config_options(session.id)}
        assert options == {"model": "mock-fast", "thought_level": "high", "mode": "plan"}


async def test_calls_by_the_clients_own_id(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        session = await agent.create_session(agent="mock", session_id="mine")
        assert session.id == "mine"
        await session.prompt("/echo hello")
        record = await agent.get_session("mine")
        assert record.agent_session_id == session.agent_session_id
        await agent.set_session_model("mine", "mock-fast")
        await agent.set_session_thought_level("mine", "low")
        assert (await agent.get_events("mine"))["events"]
        assert [mode["id"] for mode in await agent.get_session_modes("mine")] == ["normal", "plan"]
        await session.set_mcp_config({"mcpServers": {}})
        assert isinstance(await session.get_mcp_config(), dict)
        await session.set_skills_config({"sources": []})
        assert isinstance(await session.get_skills_config(), dict)
        listed = (await agent.list_sessions())["sessions"]
        assert session.agent_session_id in [entry["agentSessionId"] for entry in listed]


async def test_two_sessions_keep_their_own_ids(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        first = await agent.create_session(agent="mock", session_id="first", model="mock-fast")
        second = await agent.create_session(agent="mock", session_id="second", model="mock")
        assert (await agent.get_session("first")).agent_session_id == first.agent_session_id
        assert (await agent.get_session("second")).agent_session_id == second.agent_session_id
