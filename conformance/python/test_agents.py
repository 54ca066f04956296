import pytest
from sandboxagent import SandboxAgent
from sandboxagent.http import SandboxAgentError


async def test_list_agents(server):
    async with await SandboxAgent.connect(server.url) as agent:
        agents = {entry["id"]: entry for entry in await agent.list_agents()}
    assert {"claude", "codex", "opencode", "amp", "pi", "cursor", "mock"} <= set(agents)
    assert all(isinstance(entry["installed"], bool) for entry in agents.values())
    assert agents["mock"]["installed"] is True


async def test_get_agent(server):
    async with await SandboxAgent.connect(server.url) as agent:
        assert (await agent.get_agent("mock"))["id"] == "mock"
        with pytest.raises(SandboxAgentError) as caught:
            await agent.get_agent("nobody")
    assert caught.value.status == 400
    assert caught.value.problem.type == "urn:sandbox-agent:error:unsupported_agent"


async def test_install_agent(server):
    async with await SandboxAgent.connect(server.url) as agent:
        assert "artifacts" in await agent.install_agent("mock", {})
        assert (await agent.install_agent("mock", {}))["already_installed"] is True
        with pytest.raises(SandboxAgentError):
            await agent.install_agent("nobody", {})


async def test_install_agent_without_a_body(server):
    """A config of None sends no body at all."""
    async with await SandboxAgent.connect(server.url) as agent:
        assert "artifacts" in await agent.install_agent("mock", None)


async def test_list_acp_servers(server):
    async with await SandboxAgent.connect(server.url) as agent:
        assert await agent.list_acp_servers() == {"servers": []}
