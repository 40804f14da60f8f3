"""What each extra is for, as code that runs with it, and without it ends by naming the command that installs it."""

from __future__ import annotations

from typing import Final

_SERVER: Final = """
from guarded_tools import pictify_tools

with pictify_tools(policy="standard", sandbox=True) as tools:
    assert len(tools) > 20, tools
"""

_COMMAND: Final = """
import pathlib, subprocess, sys

program = pathlib.Path(sys.executable).with_name("guarded-tools")
done = subprocess.run([program, *{words}], stdin=subprocess.DEVNULL, capture_output=True, text=True)
if {wrong}:
    sys.exit(done.stderr)
"""

PROOFS: Final = {
    "adapters": _SERVER + "import langchain_mcp_adapters\n",
    "mcp": _SERVER + "import langchain.mcp\n",
    "gateway": _COMMAND.format(
        words='("gateway", "--policy", "standard", "--", sys.executable, "-m", "guarded_tools.pictify.sandbox")',
        wrong="done.returncode",
    ),
    "agent": """
from guarded_tools import Guard

Guard("standard").middleware()
""",
    # Nobody listens there. What is told has to be that, and not that a package is missing.
    "redis": """
from guarded_tools import StoreError, open_store

try:
    open_store("redis://127.0.0.1:9").usage()
except StoreError as error:
    if "pip install" in str(error):
        raise
""",
    "budget": """
from guarded_tools import Policy
from guarded_tools.policy.model_prices import check_priced

limits = [{"counter": "usd", "window": "day", "max": "2.00"}]
policy = Policy.model_validate({"version": "1", "default": "deny", "model": {"limits": limits}})
check_priced(policy.model, "openai:gpt-4o")
""",
    "otel": """
from guarded_tools.telemetry import to_opentelemetry

to_opentelemetry()
""",
    # Read by what the extra brings, and found to be nobody's checkpoints.
    "checkpoints": """
import sqlite3
from guarded_tools.authoring.recorded.checkpoints import read_checkpoints
from guarded_tools.errors import GuardError

sqlite3.connect("kept.sqlite").close()
try:
    list(read_checkpoints("sqlite:///kept.sqlite"))
except GuardError as error:
    if "no such table" not in str(error):
        raise
""",
    # Refused before it listens, for it would be open to everybody; and not for want of a package.
    "web": _COMMAND.format(words='("web", "--host", "0.0.0.0")', wrong='"pip install" in done.stderr'),
    "parquet": """
from pathlib import Path
from guarded_tools.audit.parquet import write_calls

assert write_calls([], Path("calls.parquet")) == 0
""",
    "notebook": """
from guarded_tools import NotebookApprover, plots

NotebookApprover()
plots.overview([]).savefig("overview.png")
""",
}
"""By extra. Each runs in an empty folder, in an environment with that extra alone."""

SAYS: Final = {"gateway": "mcp"}
"""Extras that are told of by the name of another, which brings the same."""
