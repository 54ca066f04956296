"""clone_repo against real repositories, over files and over HTTP on loopback."""

import base64
import functools
import http.server
import subprocess
import threading
from pathlib import Path

import pytest
from sandboxagent import GitCloneError, SandboxAgent

TOKEN = "ghp_conformance"


def git(*args, cwd):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run(["git", *identity, *args], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    """A folder with repo.git: two commits on main, one more on the branch side."""
    root = tmp_path_factory.mktemp("git")
    source = root / "source"
    source.mkdir()
    git("init", "-q", "-b", "main", cwd=source)
    for number in ("one", "two"):
        (source / number).write_text(number)
        git("add", ".", cwd=source)
        git("commit", "-q", "-m", number, cwd=source)
    git("checkout", "-q", "-b", "side", cwd=source)
    (source / "three").write_text("three")
    git("add", ".", cwd=source)
    git("commit", "-q", "-m", "three", cwd=source)
    git("checkout", "-q", "main", cwd=source)
    git("clone", "-q", "--bare", str(source), str(root / "repo.git"), cwd=root)
    git("update-server-info", cwd=root / "repo.git")
    return root


class Guarded(http.server.SimpleHTTPRequestHandler):
    """Serves files, those under /private only with the token as password."""

    def do_GET(self):
        if self.path.startswith("/private/"):
            want = "Basic " + base64.b64encode(f"git:{TOKEN}".encode()).decode()
            if self.headers.get("Authorization") != want:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.path = self.path.removeprefix("/private")
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def web(repositories):
    handler = functools.partial(Guarded, directory=str(repositories))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_address[1]}"
        site.shutdown()
        thread.join()


async def test_clone_repo(server, repositories, tmp_path):
    target = tmp_path / "clone"
    async with await SandboxAgent.connect(server.url) as agent:
        result = await agent.clone_repo(f"file://{repositories}/repo.git", path=str(target))
    assert result["exitCode"] == 0
    assert (target / "two").read_text() == "two"


async def test_clone_repo_branch_and_depth(server, repositories, tmp_path):
    target = tmp_path / "clone"
    async with await SandboxAgent.connect(server.url) as agent:
        await agent.clone_repo(f"file://{repositories}/repo.git", path=str(target), branch="side", depth=1)
    assert (target / "three").exists()
    log = subprocess.run(["git", "log", "--oneline"], cwd=target, check=True, capture_output=True, text=True)
    assert len(log.stdout.splitlines()) == 1


async def test_clone_repo_without_a_path_lands_in_the_servers_folder(server, web):
    async with await SandboxAgent.connect(server.url) as agent:
        await agent.clone_repo(f"{web}/repo.git")
    assert (server.home / "repo" / "one").exists()


async def test_clone_repo_with_a_token(server, web, tmp_path):
    target = tmp_path / "clone"
    async with await SandboxAgent.connect(server.url) as agent:
        await agent.clone_repo(f"{web}/private/repo.git", path=str(target), token=TOKEN)
    assert (target / "two").exists()
    assert TOKEN not in (target / ".git" / "config").read_text()
    assert list(Path("/tmp").glob(".git-askpass-*")) == []
    assert TOKEN not in server.output


async def test_clone_repo_without_the_token_it_needs(server, web, tmp_path):
    async with await SandboxAgent.connect(server.url) as agent:
        for token in (None, "ghp_wrong"):
            with pytest.raises(GitCloneError) as caught:
                await agent.clone_repo(f"{web}/private/repo.git", path=str(tmp_path / "clone"), token=token)
            assert caught.value.category == "auth"
            assert "ghp_wrong" not in str(caught.value)


async def test_clone_repo_where_nobody_listens(server, tmp_path):
    async with await SandboxAgent.connect(server.url) as agent:
        with pytest.raises(GitCloneError) as caught:
            await agent.clone_repo("http://127.0.0.1:1/repo.git", path=str(tmp_path / "clone"))
    assert caught.value.category == "network"
