"""Imports point down only and never in a circle, the public names stay as they are, and importing stays light."""

import ast
import importlib
import json
import re
import subprocess
from pathlib import Path

import pytest

import guarded_tools
from release.dist import OPTIONAL
from tests import forked

ROOT = Path(guarded_tools.__file__).parent
PACKAGE = "guarded_tools"

# Lowest first. Rooms on one floor do not know each other.
FLOORS = [
    {"_version", "text", "flow", "files", "libraries", "marks"},
    {"values", "secrets"},
    {"errors"},
    {"state", "listening", "mcp_session", "policy", "stores", "audit", "tools", "telemetry"},
    {"approvers"},  # one that keeps something is handed a store
    {"approval"},
    {"pipeline"},
    {"adapters", "plots"},
    {"guard"},
    {"servers"},
    {"testing"},
    {"pictify", "authoring", "control", "doctor"},
    {"web", "gateway"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def modules():
    """Every module by its dotted name below the package."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            yield name, path


MODULES = dict(modules())


@pytest.fixture(scope="module")
def trees():
    """Every module, parsed once."""
    return {module: ast.parse(path.read_text()) for module, path in MODULES.items()}


@pytest.fixture(scope="module")
def nodes(trees):
    """Everything that stands in a module, at any depth."""
    return {module: list(ast.walk(tree)) for module, tree in trees.items()}


@pytest.fixture(scope="module")
def graph(nodes):
    return {module: set(imports(MODULES[module], there)) - {module} for module, there in nodes.items()}


def imports(path, nodes):
    """What a module imports of the package: at its top, inside functions, and for the type checker."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == PACKAGE or (node.module or "").startswith(f"{PACKAGE}."):
                base = node.module.removeprefix(PACKAGE).removeprefix(".")
                for alias in node.names:
                    full = f"{base}.{alias.name}".removeprefix(".")
                    yield full if full in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix(f"{PACKAGE}.") for a in node.names if a.name.startswith(f"{PACKAGE}."))


def room(module):
    return module.partition(".")[0]


def test_every_room_has_a_floor():
    assert {room(module) for module in MODULES} == set(LEVEL)


def test_the_root_holds_what_users_import_and_what_everybody_needs():
    assert len(list(ROOT.glob("*.py"))) <= 12


def test_imports_point_down(graph):
    wrong = [
        f"{module} imports {other}"
        for module, others in graph.items()
        for other in sorted(others)
        if room(other) != room(module) and LEVEL[room(other)] >= LEVEL[room(module)]
    ]
    assert wrong == []


def test_no_module_imports_itself_by_way_of_others(graph):
    done, way = set(), []

    def walk(module):
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module not in done:
            way.append(module)
            for other in sorted(graph.get(module, ())):
                walk(other)
            way.pop()
            done.add(module)

    for module in graph:
        walk(module)


def test_no_room_reaches_into_another_by_a_string(nodes):
    """Data files of a room are opened by the room itself: ``files(__package__)``, never ``files("guarded_tools.…")``."""
    for module, there in nodes.items():
        for node in there:
            if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in {
                "files",
                "import_module",
            }:
                named = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                assert not any(str(name).startswith(PACKAGE) for name in named), f"{module}:{node.lineno}"


def test_only_the_sessions_ask_which_generation_of_mcp_is_installed(nodes):
    """What differs stands in modules of its own for each; whoever needs one takes the module of that number."""
    for module, there in nodes.items():
        asked = room(module) != "mcp_session" and [
            node.lineno for node in there if isinstance(node, ast.Compare) and "installed" in ast.unparse(node.left)
        ]
        assert not asked, f"{module}:{asked}"


def test_what_is_never_remembered_is_said_in_one_place(nodes):
    """``values.widest_memory`` alone knows it: a safety rule that five files know is soon known by four."""
    told = {}
    for module, there in nodes.items():
        for node in there:
            if isinstance(node, ast.Compare):
                words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                if {"destructive", "financial"} <= words:
                    told.setdefault(module, node.lineno)
    assert list(told) == ["values"]


def test_no_two_classes_have_one_name(nodes):
    """One word, one meaning; a reader who searches for a class finds one."""
    places = {}
    for module, there in nodes.items():
        for node in there:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(f"{module}:{node.lineno}")
    assert {name: at for name, at in places.items() if len(at) > 1} == {}


def test_masking_has_a_public_face():
    from guarded_tools import secrets
    from guarded_tools.text import redaction

    assert secrets.__all__ == ["MASK", "mask", "mask_json"]
    assert all(getattr(secrets, name) is getattr(redaction, name) for name in secrets.__all__)


def test_every_room_says_what_it_promises_and_where_to_start(trees):
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            said = ast.get_docstring(trees[module]) or ""
            assert len(said.split()) >= 20, module


def test_every_docstring_is_text(nodes):
    # From Python 3.13 on, one that holds half a surrogate pair keeps its module from being imported.
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for module, there in (nodes | {"guarded_tools": ast.walk(ast.parse((ROOT / "__init__.py").read_text()))}).items():
        for node in there:
            said = (isinstance(node, kinds) and ast.get_docstring(node)) or ""
            if any("\ud800" <= letter <= "\udfff" for letter in said):
                pytest.fail(f"{module}: the docstring of {getattr(node, 'name', 'the module')}")


def test_what_users_may_import_is_listed_and_is_there():
    page = (ROOT.parent / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `guarded_tools\.?(\w*)` \|", page, re.MULTILINE)
    assert listed == [
        *("", "approvers", "audit", "errors", "plots", "policy", "secrets", "state", "stores", "telemetry", "testing"),
        "values",
    ]
    for name in listed:
        module = importlib.import_module(f"{PACKAGE}.{name}" if name else PACKAGE)
        named = re.search(rf"^\| `{re.escape(module.__name__)}` \|(.*)$", page, re.MULTILINE)
        assert named is not None
        for told in re.findall(r"`(\w+)`", named[1]) if name else ():
            # Of approvers, the modules are named.
            assert hasattr(module, told) or f"{name}.{told}" in MODULES, f"{module.__name__} has no {told}"


def test_what_tests_import_is_there():
    """Inside functions too: otherwise a moved name is missed only when that one test runs."""
    for path in sorted((ROOT.parent / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.gateway"):
                # It takes the second generation of MCP, which is not installed here.
                said = MODULES[(node.module or "").removeprefix(f"{PACKAGE}.")].read_text()
                for alias in node.names:
                    assert re.search(rf"^(class |def |async def )?{alias.name}\b", said, re.MULTILINE), alias.name
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == PACKAGE:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    full = f"{node.module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                    assert hasattr(module, alias.name) or full in MODULES, f"{path}:{node.lineno} {alias.name}"


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
        (
            f"from guarded_tools import {', '.join(sorted({*guarded_tools.__all__} - {'guarded_tools', 'pictify_tools'}))}",
            OPTIONAL,
        ),
    ],
)
def test_what_an_import_does_not_load(statement, absent):
    code = f"{statement}\nimport sys, json; print(json.dumps([m for m in {absent!r} if m in sys.modules]))"
    out = subprocess.run([forked.PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == []


def run_python(code):
    return subprocess.run([forked.PYTHON, "-c", code], capture_output=True, text=True, check=False)


def test_freezing_time_loads_none_of_the_names():
    code = """
import sys, guarded_tools
from freezegun import freeze_time
with freeze_time("2026-01-01"):
    assert "mcp" not in sys.modules and "langchain_core" not in sys.modules
    assert set(dir(guarded_tools)) <= set(guarded_tools.__all__) - {"Guard", "guarded_tools", "pictify_tools"}
assert dir(guarded_tools) == guarded_tools.__all__
guarded_tools.guarded_tools
with freeze_time("2026-01-01"):
    assert "guarded_tools" in dir(guarded_tools)
"""
    assert run_python(code).stderr == ""


WINDOWS = "import sys; sys.modules['fcntl'] = sys.modules['termios'] = None\n"  # as far as it can be had here


@pytest.mark.parametrize(
    "statement",
    [
        "from guarded_tools import Guard",
        "from guarded_tools import AuditLog",
        "from guarded_tools import guarded_tools",
        "from guarded_tools import open_store; open_store('disk:///tmp')",
        "from guarded_tools.cli.app import main; main(['status'])",
        "from guarded_tools.cli.app import main; main(['--help'])",
    ],
)
def test_without_locks_the_error_says_what_to_do(statement):
    ended = run_python(WINDOWS + statement)
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode != 0
    assert "file locks of POSIX" in last
    assert last.endswith("on Windows in WSL")
    assert ("Traceback" in ended.stderr) == ("main" not in statement)


def test_without_locks_a_policy_still_judges():
    code = """
from guarded_tools import Policy, TerminalApprover, ToolCall, decide, open_store
policy = Policy.model_validate({"version": "1", "default": "deny", "tools": {"t": {}}})
print(decide(policy, ToolCall("t", {})).effect, decide(policy, ToolCall("u", {})).effect)
open_store("memory://")
"""
    ended = run_python(WINDOWS + code)
    assert (ended.stdout, ended.stderr) == ("allow deny\n", "")


def definitions(node, public=True):
    """Each class and function of a module, and whether others may use it; what stands inside a function is its own."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            named = public and not child.name.startswith("_")
            yield child, named
            yield from definitions(child, named and isinstance(child, ast.ClassDef))
        else:
            yield from definitions(child, public)


def test_what_others_may_use_says_what_it_promises(trees):
    silent = [
        f"{module}:{node.lineno} {node.name}"
        for module, tree in trees.items()
        for node, public in definitions(tree)
        if public and not ast.get_docstring(node)
    ]
    assert silent == []


def test_files_and_functions_stay_short(trees):
    long = []
    for module, path in MODULES.items():
        long += [module] if len(path.read_text().splitlines()) > 350 else []
        for node, _ in definitions(trees[module]):
            if not isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 > 50:
                long.append(f"{module}:{node.lineno} {node.name}")
    assert long == []
