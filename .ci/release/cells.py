"""What the table of compatibility is made of: each cell says which tests prove it, and in which environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Dependencies = Literal["lowest", "newest"]
Generation = Literal[1, 2]

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
DEPENDENCIES: Final[tuple[Dependencies, ...]] = ("lowest", "newest")
GENERATIONS: Final[tuple[Generation, ...]] = (1, 2)

EXTRAS: Final = {1: "test,adapters", 2: "test,mcp"}

ASK_FOR_NEWER: Final = (
    "deepagents",
    "langgraph-supervisor",
    "langgraph-swarm",
    "langgraph-cli",
    "mypy",
    "pyright",
    "ruff",
)
"""What asks for newer releases of others than we do: left out of the lowest, as ``make lowest`` does."""

SHOWN: Final = {
    1: ("langchain-core", "langgraph", "mcp", "langchain-mcp-adapters", "pydantic"),
    2: ("langchain-core", "langgraph", "mcp", "fastmcp", "pydantic"),
}
"""The packages whose releases the page names."""

_AGENTS: Final = "tests/adapters/test_sub_agents.py"
_SLOW: Final = (
    "tests/adapters/test_outcomes.py",
    "tests/adapters/test_transparent.py",
    "tests/servers/test_held_calls.py",
)
"""These take as long as all the others together; `make test` and `make test-mcp2` run them."""

TESTS: Final = (
    "tests/adapters",
    "tests/servers",
    "tests/cli/test_demo.py",
    *(f"--ignore={path}" for path in (_AGENTS, *_SLOW)),
)
"""The roads of a call and the ways around them, real servers over stdio and HTTP with their questions, and the demo."""

NEED_NEWER: Final = ("--ignore-glob", "*/test_answer_schemas*")
"""Tests of what the lowest releases do not have."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One Python, with the lowest or the newest releases that are allowed, and one generation of MCP."""

    python: str
    dependencies: Dependencies
    mcp: Generation

    @property
    def name(self) -> str:
        """What the cell is called in the results, and on the command line."""
        return f"{self.python}/{self.dependencies}/mcp{self.mcp}"

    @property
    def requirement(self) -> str:
        """What is installed of the checkout."""
        return f".[{EXTRAS[self.mcp]}]"

    @property
    def pinned(self) -> tuple[str, ...]:
        """What its tests need besides."""
        return ("langchain-tests>=1.1",) if self.mcp == 1 else ()

    @property
    def words(self) -> tuple[str, ...]:
        """The tests, as pytest is told them."""
        return (*TESTS, *NEED_NEWER) if self.dependencies == "lowest" else TESTS


@dataclass(frozen=True, slots=True)
class Beside:
    """A program or a library that the guard is used with: the tests that use it for real, and what it cannot do."""

    name: str
    packages: tuple[str, ...]
    words: tuple[str, ...]
    tried: str
    missing: str = ""
    mcp: Generation = 1
    requirement: str = ".[dev]"
    pinned: tuple[str, ...] = ()


CELLS: Final = tuple(
    Cell(python, newness, mcp) for python in PYTHONS for mcp in GENERATIONS for newness in DEPENDENCIES
)

_KERNEL = ("tests/approvers/test_notebook.py", "tests/notebooks")

BESIDE: Final = (
    Beside(
        "LangGraph server, MCP 1",
        ("langgraph-api", "langgraph-cli"),
        ("tests/langgraph_server",),
        "`langgraph dev`: a question, its answer, a stream, two threads, a restart between them",
        "a deployment on LangGraph's own platform: not tried",
    ),
    Beside(
        "LangGraph server, MCP 2",
        ("langgraph-api", "langgraph-cli"),
        ("tests/langgraph_server",),
        "the same, and a server's own questions in two rounds",
        "likewise",
        mcp=2,
        requirement=".[test,mcp]",
    ),
    Beside(
        "deepagents",
        ("deepagents",),
        (_AGENTS, "-k", "deep or sub_agent or helper"),
        "main agent and sub-agents under one guard",
        "a sub-agent that was compiled elsewhere, or runs on a server of its own, is guarded where it is made",
    ),
    Beside(
        "langgraph-supervisor",
        ("langgraph-supervisor",),
        (_AGENTS, "-k", "supervisor"),
        "agents under a supervisor, by `wrap` and by middleware",
    ),
    Beside(
        "langgraph-swarm",
        ("langgraph-swarm",),
        (_AGENTS, "-k", "swarm"),
        "agents that hand over to each other, by `wrap` and by middleware",
    ),
    Beside(
        "FastAPI, two workers",
        ("fastapi", "uvicorn"),
        ("tests/cli/test_service.py",),
        "limits of each user over both workers, a new policy while they run, a graceful stop",
        "gunicorn: not tried",
    ),
    Beside(
        "JupyterLab",
        ("jupyterlab", "anywidget"),
        ("tests/approvers/test_jupyterlab.py",),
        "in Chromium, by mouse and keyboard: both ways to ask, tables light and dark",
        "Notebook 7: not tried",
    ),
    Beside(
        "ipykernel 6",
        ("ipykernel", "ipywidgets"),
        _KERNEL,
        "questions under the running cell, buttons, interrupts, and the seven notebooks",
        requirement=".[test,adapters]",
        pinned=("ipykernel<7",),
    ),
    Beside(
        "ipykernel 7",
        ("ipykernel", "ipywidgets"),
        _KERNEL,
        "the same",
        requirement=".[test,adapters]",
        pinned=("ipykernel>=7",),
    ),
    Beside(
        "marimo",
        ("marimo", "anywidget"),
        ("tests/approvers/test_marimo.py",),
        "in Chromium: `resume_with_buttons()`, edited and run as an app",
        "`NotebookApprover()`: marimo has no Jupyter kernel, and the refusal says so",
    ),
)

PARTS: Final[tuple[Cell | Beside, ...]] = (*CELLS, *BESIDE)
"""All of it, in the order of the page."""
