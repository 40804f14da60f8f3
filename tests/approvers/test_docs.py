"""The scripts beside the documentation do what their pages say."""

import json
import os
import sys
from pathlib import Path

import nbclient
import nbformat
import pexpect
import pytest

from tests import forked

PAGES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def env(tmp_path):
    return {**os.environ, "GUARDED_TOOLS_HOME": str(tmp_path / "home"), "COLUMNS": "100"}


def run(*command, cwd, env):
    return forked.run(command, cwd=cwd, env=env, timeout=60, check=True).stdout


def test_callback(tmp_path, env):
    said = run(sys.executable, PAGES / "callback.py", cwd=tmp_path, env=env).splitlines()
    assert said[:2] == ["50 sent to Ann", "100 sent to Ann"]
    assert said[2].startswith("DENIED")
    assert "needs a ticket" in said[2]


def test_terminal(tmp_path, env):
    child = pexpect.spawn(
        sys.executable, [str(PAGES / "terminal.py")], cwd=str(tmp_path), env=env, encoding="utf-8", timeout=30
    )
    child.expect("your answer.*> ")
    child.send("a\r")
    child.expect("500 sent to Ann")
    child.close()


def test_interrupt(tmp_path, env):
    script = PAGES / "interrupt.py"
    assert "Go on with" in run(sys.executable, script, cwd=tmp_path, env=env)
    assert "500 sent to Ann" in run(sys.executable, script, json.dumps({"type": "approve"}), cwd=tmp_path, env=env)


def test_inbox(tmp_path, env):
    agent = forked.Popen([sys.executable, PAGES / "inbox_agent.py"], cwd=tmp_path, env=env, stdout=forked.PIPE)
    try:
        command = agent.stdout.readline().split("terminal: ")[1].split()
        assert command[:2] == ["guarded-tools", "approvals"]
        child = pexpect.spawn(
            sys.executable, ["-m", "guarded_tools.cli", *command[1:]], env=env, encoding="utf-8", timeout=30
        )
        child.expect("your answer.*> ")
        child.send("a\r")
        assert agent.stdout.readline() == "500 sent to Ann\n"
        child.close(force=True)
    finally:
        agent.kill()
        agent.communicate()


def test_notebook(tmp_path):
    notebook = nbformat.read(PAGES / "notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=60).execute(cwd=str(tmp_path))
    outputs = [json.dumps(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"]
    assert "without anybody at it" in outputs[1]
    assert "application/vnd.jupyter.widget-view+json" in outputs[2]
    assert "refund" in outputs[3]


def test_pages_name_only_files_that_are_there():
    import re

    for page in PAGES.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (PAGES / link).exists(), f"{page.name} → {link}"
