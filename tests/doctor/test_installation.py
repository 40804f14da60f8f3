"""What is said of an installation, from facts that are handed in: each cause with the command that mends it."""

from __future__ import annotations

import re
import sqlite3
import tomllib
from pathlib import Path

import pytest

import guarded_tools
from guarded_tools.doctor.gathered import _requirements, installation
from guarded_tools.doctor.installation import EXTRAS, Installation, Requirement, TerminalFacts, judge_installation
from guarded_tools.errors import StoreError
from guarded_tools.stores import open_store
from guarded_tools.stores.disk.cache import OLDEST_SQLITE

FINE = Installation(
    "3.12.1",
    ">=3.11",
    (Requirement("pydantic", ">=2.11.2"), Requirement("redis", ">=5.2", "redis")),
    {"pydantic": "2.12.0", "redis": "6.0"},
    {"mcp": (1, 30), "langchain-mcp-adapters": (0, 3)},
    (3, 40, 1),
    TerminalFacts("", "utf-8"),
)


def remark(found, about):
    return next(one for one in judge_installation(found) if one.about == about)


def test_all_is_fine():
    assert {one.level for one in judge_installation(FINE)} == {"ok"}
    assert not any(one.next for one in judge_installation(FINE))


@pytest.mark.parametrize(
    ("changed", "about", "level", "said", "command"),
    [
        ({"python": "3.10.4"}, "Python", "wrong", "3.10.4 is too old: >=3.11 is needed", "python3.12 -m venv .venv"),
        ({"versions": {}}, "pydantic", "wrong", "is not installed", "pip install 'pydantic>=2.11.2'"),
        (
            {"versions": {"pydantic": "1.10"}},
            "pydantic",
            "wrong",
            "1.10 is installed, and >=2.11.2 is needed",
            "pip install 'pydantic>=2.11.2'",
        ),
        (
            {"versions": {"pydantic": "2.12", "redis": "4.0"}},
            "extra redis",
            "warning",
            "redis 4.0 is installed, and >=5.2 is needed",
            "pip install 'redis>=5.2'",
        ),
        (
            {"versions": {"pydantic": "2.12"}},
            "extra redis",
            "ok",
            "not installed; it is for a store on Redis",
            "pip install 'guarded-tools[redis]'",
        ),
        ({"mcp": {}}, "MCP", "ok", "not installed", "pip install 'guarded-tools[adapters]'"),
        ({"mcp": {"mcp": (2, 3), "fastmcp": (4, 2)}}, "MCP", "ok", "the second generation (mcp 2.3, fastmcp 4.2)", ""),
        (
            {"mcp": {"mcp": (1, 30)}},
            "MCP",
            "wrong",
            "mcp 1.30 is installed without langchain-mcp-adapters",
            "pip install 'guarded-tools[adapters]'",
        ),
        (
            {"mcp": {"mcp": (2, 3), "langchain-mcp-adapters": (0, 3)}},
            "MCP",
            "wrong",
            "mcp 2.3 is installed without FastMCP 4, but with langchain-mcp-adapters, which needs mcp 1. For that",
            "pip install 'guarded-tools[adapters]'",
        ),
        (
            {"mcp": {"mcp": (1, 30), "langchain-mcp-adapters": (0, 3), "fastmcp": (4, 0)}},
            "MCP",
            "warning",
            "with a package of the other beside it",
            "pip uninstall fastmcp",
        ),
        (
            {"sqlite": (3, 7, 17)},
            "SQLite",
            "wrong",
            "SQLite 3.7.17 is too old: 3.8.8 or newer",
            "uv venv --python 3.12",
        ),
        (
            {"terminal": TerminalFacts("standard input is not a terminal", "utf-8")},
            "terminal",
            "warning",
            "none here: standard input is not a terminal",
            "guarded-tools approvals watch",
        ),
        (
            {"terminal": TerminalFacts("", "ANSI_X3.4-1968")},
            "encoding",
            "warning",
            "standard output is ANSI_X3.4-1968",
            "export PYTHONUTF8=1",
        ),
    ],
)
def test_each_fault_has_its_cause_and_the_next_command(changed, about, level, said, command):
    found = remark(FINE._replace(**changed), about)
    assert (found.level, found.next) == (level, command)
    assert said in found.said


def test_what_is_installed_here_is_found():
    found = installation()
    assert found.sqlite == sqlite3.sqlite_version_info
    assert found.versions["pydantic"]
    assert [one for one in judge_installation(found) if one.level == "wrong"] == []


def test_metadata_is_read_as_build_tools_write_it():
    lines = [
        "pydantic>=2.11.2",
        "redis>=5.2; extra == 'redis'",
        'colorama; sys_platform == "win32"',
        'psycopg[binary]>=3.2; extra == "checkpoints"',
        'tomli; python_version < "3" and extra == "x"',
        "guarded-tools[mcp]; extra == 'gateway'",
        "?!",
    ]
    assert list(_requirements(lines)) == [
        Requirement("pydantic", ">=2.11.2", ""),
        Requirement("redis", ">=5.2", "redis"),
        Requirement("psycopg", ">=3.2", "checkpoints"),
    ]


def test_every_extra_of_ours_is_told_of():
    written = tomllib.loads((Path(guarded_tools.__file__).parents[1] / "pyproject.toml").read_text())
    extras = set(written["project"]["optional-dependencies"]) - {"adapters", "mcp", "gateway"}  # told by generation
    assert extras - {"test", "dev", "agentdojo", "docs", "release"} == set(EXTRAS)


def test_an_old_sqlite_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    """The version is made up: an SQLite that is too old cannot be had for a Python that this package runs on."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 7, 17))
    with pytest.raises(StoreError, match=re.escape("SQLite 3.7.17 is too old: 3.8.8 or newer is needed")):
        open_store(f"disk://{tmp_path / 'state'}")
    assert not (tmp_path / "state").exists()
    monkeypatch.setattr(sqlite3, "sqlite_version_info", OLDEST_SQLITE)
    open_store(f"disk://{tmp_path / 'state'}").close()
