"""Imports point down only, the public names stay as they are, and importing the package stays light."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import guarded_tools

ROOT = Path(guarded_tools.__file__).parent

# Lowest first. Rooms on one floor do not know each other.
FLOORS = [
    {"_version"},
    {"errors", "html"},
    {"values", "secrets", "state"},
    {"steps"},
    {"mcp_session"},
    {"policy", "stores", "approvers", "audit"},
    {"remembered", "answer"},
    {"flood"},
    {"consent"},
    {"in_force", "denial", "telemetry"},
    {"records"},
    {"line"},
    {"guard"},
    {"adapters"},
    {"plots"},
    {"pictify"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

# The guard hands out its plug-ins by name, and loads them only then.
UPWARD = {("guard", "adapters")}


def imports(path: Path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):  # what only the type checker reads is no import
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            if node.module == "guarded_tools":
                yield from (alias.name for alias in node.names)
            elif node.module.startswith("guarded_tools."):
                yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("guarded_tools."))


def rooms():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts != ("__init__",):
            yield parts[0], path


def test_every_room_has_a_floor():
    assert {room for room, _ in rooms()} == set(LEVEL)


def test_imports_point_down():
    wrong = [
        f"{path.relative_to(ROOT)} imports {other}"
        for room, path in rooms()
        for other in imports(path)
        if other != room and LEVEL[other] >= LEVEL[room] and (room, other) not in UPWARD
    ]
    assert wrong == []


def test_every_docstring_is_text():
    # From Python 3.13 on, one that holds half a surrogate pair keeps its module from being imported.
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds) and any(
                "\ud800" <= letter <= "\udfff" for letter in ast.get_docstring(node) or ""
            ):
                pytest.fail(f"{path.relative_to(ROOT)}: the docstring of {getattr(node, 'name', 'the module')}")


def test_public_names():
    assert sorted(guarded_tools.__all__) == guarded_tools.__all__
    for name in guarded_tools.__all__:
        assert getattr(guarded_tools, name) is not None
    with pytest.raises(AttributeError):
        _ = guarded_tools.nonsense


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import guarded_tools", ["langchain_core", "pydantic", "diskcache", "mcp", "rich"]),
        ("from guarded_tools import Policy", ["langchain_core", "langgraph", "diskcache", "mcp"]),
        (
            "from guarded_tools import Guard, Policy, open_store",
            ["langgraph", "langchain", "redis", "matplotlib", "mcp"],
        ),
        ("import guarded_tools.cli.app", ["langchain_core", "mcp", "diskcache"]),
    ],
)
def test_what_an_import_does_not_load(statement, absent):
    code = f"{statement}\nimport sys, json; print(json.dumps([m for m in {absent!r} if m in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []
