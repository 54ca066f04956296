import httpx
import pytest
from sandboxagent import SandboxAgent
from sandboxagent.http import SandboxAgentError


async def test_health(server):
    async with await SandboxAgent.connect(server.url) as agent:
        assert (await agent.health())["status"] == "ok"


async def test_wait_for_health(server):
    async with await SandboxAgent.connect(server.url, skip_health_check=True) as agent:
        assert (await agent.wait_for_health(timeout_seconds=5))["status"] == "ok"


async def test_token_opens_every_route(locked):
    async with await SandboxAgent.connect(locked.url, token=locked.token, headers={"x-extra": "1"}) as agent:
        assert (await agent.health())["status"] == "ok"
        assert await agent.list_agents()


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_token_is_required(locked, token):
    async with await SandboxAgent.connect(locked.url, token=token, skip_health_check=True) as agent:
        with pytest.raises(SandboxAgentError) as caught:
            await agent.health()
        assert caught.value.status == 401
        assert caught.value.problem.type == "urn:sandbox-agent:error:token_invalid"


async def test_inspector_url(locked):
    async with await SandboxAgent.connect(locked.url, token=locked.token, headers={"x-extra": "1"}) as agent:
        assert agent.sandbox_id is None  # no provider
        assert agent.inspector_url.startswith(f"{locked.url}/ui/?token={locked.token}")
        async with httpx.AsyncClient() as browser:
            page = await browser.get(agent.inspector_url)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
