import pytest
from sandboxagent import SandboxAgent

MCP = {"mcpServers": {"tools": {"type": "local", "command": "npx", "args": ["-y", "x"]}}}
SKILLS = {"sources": [{"type": "github", "source": "owner/repo", "ref": "main"}]}


async def test_get_mcp_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        assert (await agent.get_mcp_config())["mcpServers"] == {}


async def test_set_mcp_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        await agent.set_mcp_config(MCP)
        assert (await agent.get_mcp_config())["mcpServers"] == MCP["mcpServers"]
        await agent.set_mcp_config({"mcpServers": {}})
        assert (await agent.get_mcp_config())["mcpServers"] == {}


@pytest.mark.parametrize("empty", [{"servers": []}, {"mcpServers": {}}])
async def test_set_mcp_config_with_nothing(fresh, empty):
    async with await SandboxAgent.connect(fresh.url) as agent:
        await agent.set_mcp_config(MCP)
        await agent.set_mcp_config(empty)
        assert (await agent.get_mcp_config())["mcpServers"] == {}


async def test_delete_mcp_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        await agent.set_mcp_config(MCP)
        await agent.delete_mcp_config()
        assert (await agent.get_mcp_config())["mcpServers"] == {}


async def test_get_skills_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        assert isinstance(await agent.get_skills_config(), dict)


async def test_set_skills_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        nothing = await agent.get_skills_config()
        await agent.set_skills_config(SKILLS)
        some = await agent.get_skills_config()
        assert some != nothing
        await agent.set_skills_config(some)
        assert await agent.get_skills_config() == some, "what is read can be written back"


async def test_delete_skills_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        nothing = await agent.get_skills_config()
        await agent.set_skills_config(SKILLS)
        await agent.delete_skills_config()
        assert await agent.get_skills_config() == nothing


async def test_get_process_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        config = await agent.get_process_config()
    assert config["maxConcurrentProcesses"] == 64
    assert config["defaultRunTimeoutMs"] == 30000


async def test_set_process_config(fresh):
    async with await SandboxAgent.connect(fresh.url) as agent:
        before = await agent.get_process_config()
        full = await agent.set_process_config({**before, "maxOutputBytes": 10})
        assert full["maxOutputBytes"] == 10
        part = await agent.set_process_config({"maxConcurrentProcesses": 3})
        assert part == {**full, "maxConcurrentProcesses": 3}
        assert await agent.get_process_config() == part
        cut = await agent.run_process({"command": "/bin/echo", "args": ["0123456789abc"]})
        assert cut["stdout"] == "0123456789"
