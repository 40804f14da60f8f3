"""Which generation of MCP is used is told by what is installed, and halves of one are an error that mends itself."""

import subprocess
from importlib import metadata

import pytest

from guarded_tools import GuardError
from guarded_tools.mcp_session.generation import FIRST, SECOND, chosen, installed
from tests import forked


@pytest.mark.parametrize(
    ("versions", "number"),
    [
        ({"mcp": (1, 24), "langchain-mcp-adapters": (0, 3)}, 1),
        ({"mcp": (1, 30), "langchain-mcp-adapters": (0, 3), "fastmcp": (3, 1)}, 1),  # somebody's server, perhaps
        ({"mcp": (2, 3), "fastmcp": (4, 2)}, 2),
        ({"mcp": (2, 11), "fastmcp": (4, 12)}, 2),
        # Left behind by a pip that was told to go on; nothing of it is imported.
        ({"mcp": (2, 3), "fastmcp": (4, 2), "langchain-mcp-adapters": (0, 3)}, 2),
    ],
)
def test_the_sdk_decides(versions, number):
    assert chosen(versions) == number


@pytest.mark.parametrize(
    ("versions", "said", "commands"),
    [
        ({}, "the MCP SDK is not installed", [FIRST, SECOND]),
        ({"langchain-mcp-adapters": (0, 3)}, "the MCP SDK is not installed", [FIRST, SECOND]),
        ({"mcp": (1, 30)}, "mcp 1.30 is installed without langchain-mcp-adapters", [FIRST, SECOND]),
        ({"mcp": (1, 30), "fastmcp": (3, 2)}, "FastMCP 3.2 does not take its place", [FIRST, SECOND]),
        ({"mcp": (2, 0), "fastmcp": (4, 0)}, "mcp 2.0 is older than 2.3", [SECOND]),
        ({"mcp": (2, 0)}, "mcp 2.0 is older than 2.3", [SECOND]),
        ({"mcp": (2, 3)}, "mcp 2.3 is installed without FastMCP 4", [SECOND]),
        ({"mcp": (2, 3), "fastmcp": (3, 4)}, "fastmcp 3.4 is older than 4.1.6", [SECOND]),
        # Of groups of servers it does not say which one a tool is from.
        ({"mcp": (2, 3), "fastmcp": (4, 1, 4)}, "fastmcp 4.1.4 is older than 4.1.6", [SECOND]),
        ({"mcp": (2, 1), "fastmcp": (3, 4)}, "mcp 2.1 is older than 2.3 and fastmcp 3.4 is older than 4.1.6", [SECOND]),
        (
            {"mcp": (2, 3), "langchain-mcp-adapters": (0, 3)},
            "langchain-mcp-adapters, which needs mcp 1",
            [FIRST, "pip uninstall langchain-mcp-adapters", SECOND],
        ),
    ],
)
def test_a_half_is_an_error_with_the_command_that_mends_it(versions, said, commands):
    with pytest.raises(GuardError) as error:
        chosen(versions)
    assert said in str(error.value)
    assert all(command in str(error.value) for command in commands)
    assert "\n" not in str(error.value)


def test_what_is_installed_here_is_whole():
    assert installed() == int(metadata.version("mcp").partition(".")[0])


def test_without_a_package_of_mcp_the_rest_of_the_library_works():
    """A finder hides what the extras bring, in a process of its own: nothing of ours may need it before it is used."""
    program = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"mcp", "mcp_types", "langchain_mcp_adapters", "fastmcp", "httpx2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
from langchain_core.tools import tool
import guarded_tools
from guarded_tools import Guard, Policy

@tool
def greet(name: str) -> str:
    "Greet somebody."
    return "hello " + name

guard = Guard(Policy.model_validate({"version": "1", "default": "allow"}), store="memory://")
[greet] = guard.wrap([greet])
print(greet.invoke({"name": "Ann"}))
"""
    ran = subprocess.run([forked.PYTHON, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "hello Ann\n", ran.stderr
