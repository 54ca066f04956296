import pytest
from sandboxagent import SandboxAgent
from sandboxagent.http import SandboxAgentError


def connect(server):
    return SandboxAgent.connect(server.url)


async def test_write_file(server, tmp_path):
    async with await connect(server) as agent:
        await agent.write_file(str(tmp_path / "deep" / "text"), "grüße\n")
        await agent.write_file(str(tmp_path / "bytes"), bytes(range(256)))
        await agent.write_file(str(tmp_path / "empty"), "")
    assert (tmp_path / "deep" / "text").read_text() == "grüße\n"
    assert (tmp_path / "bytes").read_bytes() == bytes(range(256))
    assert (tmp_path / "empty").read_bytes() == b""


async def test_read_file(server, tmp_path):
    name = tmp_path / "a+b&c=d e#f%20ü"
    name.write_text("grüße\r\n")
    async with await connect(server) as agent:
        assert await agent.read_file(str(name)) == "grüße\r\n"
        with pytest.raises(SandboxAgentError) as caught:
            await agent.read_file(str(tmp_path / "none"))
    assert caught.value.status == 400
    assert caught.value.problem.type == "urn:sandbox-agent:error:invalid_request"
    assert "path not found" in caught.value.problem.detail


async def test_list_entries(server, tmp_path):
    (tmp_path / "file").write_text("123")
    (tmp_path / "folder").mkdir()
    async with await connect(server) as agent:
        entries = {entry["name"]: entry for entry in await agent.list_entries(str(tmp_path))}
    assert set(entries) == {"file", "folder"}
    assert entries["file"]["entryType"] == "file"
    assert entries["file"]["size"] == 3
    assert entries["file"]["path"] == str(tmp_path / "file")
    assert entries["folder"]["entryType"] == "directory"


async def test_stat(server, tmp_path):
    (tmp_path / "file").write_text("123")
    async with await connect(server) as agent:
        file = await agent.stat(str(tmp_path / "file"))
        assert (file["entryType"], file["size"]) == ("file", 3)
        assert (await agent.stat(str(tmp_path)))["entryType"] == "directory"
        with pytest.raises(SandboxAgentError):
            await agent.stat(str(tmp_path / "none"))


async def test_move(server, tmp_path):
    (tmp_path / "from").write_text("x")
    async with await connect(server) as agent:
        await agent.move(str(tmp_path / "from"), str(tmp_path / "new" / "to"))
        with pytest.raises(SandboxAgentError):
            await agent.move(str(tmp_path / "from"), str(tmp_path / "other"))
    assert not (tmp_path / "from").exists()
    assert (tmp_path / "new" / "to").read_text() == "x"


async def test_delete_entry(server, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("")
    async with await connect(server) as agent:
        with pytest.raises(SandboxAgentError) as caught:
            await agent.delete_entry(str(tmp_path / "folder"))
        assert caught.value.status in (409, 502)
        await agent.delete_entry(str(tmp_path / "folder" / "file"))
        await agent.delete_entry(str(tmp_path / "folder"))
    assert list(tmp_path.iterdir()) == []


async def test_mkdir_fs(server, tmp_path):
    async with await connect(server) as agent:
        assert await agent.mkdir_fs(str(tmp_path / "a" / "b")) == {"path": str(tmp_path / "a" / "b")}
        await agent.mkdir_fs(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


async def test_upload_fs_batch(server, tmp_path):
    async with await connect(server) as agent:
        files = [{"path": str(tmp_path / "a"), "content": "1"}, {"path": str(tmp_path / "d" / "b"), "content": "ü"}]
        assert isinstance(await agent.upload_fs_batch(files), dict)
    assert (tmp_path / "a").read_text() == "1"
    assert (tmp_path / "d" / "b").read_text() == "ü"
