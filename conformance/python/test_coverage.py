"""Holds the suite to the calls that the client's README promises, and to every
other method of the client, the desktop's apart."""

import ast
import inspect
from pathlib import Path

from sandboxagent import SandboxAgent
from sandboxagent.terminal import ProcessTerminalSession

# The session helpers exist only on the client, under another name.
CALLS = {
    "health", "wait_for_health",
    "read_file", "write_file", "list_entries", "stat", "move", "delete_entry", "mkdir_fs",
    "create_process", "run_process", "list_processes", "get_process", "stop_process", "kill_process", "delete_process",
    "clone_repo",
    "list_agents", "get_agent", "install_agent",
    "get_mcp_config", "set_mcp_config", "get_skills_config", "set_skills_config", "get_process_config", "set_process_config",
    "create_session", "resume_session", "destroy_session", "list_sessions", "get_session",
    "prompt", "set_model", "set_mode", "set_thought_level", "set_config_option",
    "follow_process_logs", "connect_process_terminal",
    "pause_sandbox", "resume_sandbox", "restart_sandbox", "destroy_sandbox", "kill_sandbox",
}
HELPERS = {name: name.replace("set_", "set_session_") for name in CALLS if name in
           ("set_model", "set_mode", "set_thought_level", "set_config_option")}


FILES = [ast.parse(file.read_text()) for file in Path(__file__).parent.glob("test_*.py")]


def test_each_promised_call_has_a_test_that_makes_it():
    made = {}
    for file in FILES:
        for node in file.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                calls = {n.func.attr for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
                made[node.name] = calls
    assert len(CALLS) == 43
    assert sorted(call for call in CALLS if HELPERS.get(call, call) not in made.get(f"test_{call}", ())) == []


def test_each_method_of_the_client_is_used():
    used = {n.attr for file in FILES for n in ast.walk(file) if isinstance(n, ast.Attribute)}
    for kind in (SandboxAgent, ProcessTerminalSession):
        public = {name for name, _ in inspect.getmembers(kind) if not name.startswith(("_", "desktop_"))}
        assert len(public) > 5
        assert sorted(public - used) == [], kind.__name__
