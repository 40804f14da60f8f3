"""Buttons in a real marimo, in a real browser: the same widget as in JupyterLab."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import forked
from tests.browsing import MARKS, unreadable

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("marimo")
expect = sync_api.expect
pytestmark = MARKS

NOTEBOOK = """
import marimo

app = marimo.App()


@app.cell
def _():
    from agents import ask, guard, ran
    return ask, guard, ran


@app.cell
def _(ask):
    buttons = ask("Ann", "Ben")
    return (buttons,)


@app.cell
def _(guard):
    guard.policy
    return
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    home = tmp_path_factory.mktemp("marimo")
    (home / "asked.py").write_text(NOTEBOOK)
    (home / "pyproject.toml").write_text('[tool.marimo.display]\ntheme = "dark"\n')
    shutil.copy(Path(__file__).with_name("notebook_agents.py"), home / "agents.py")
    server = subprocess.Popen(
        [forked.PYTHON, "-m", "marimo", "run", "--headless", "--host", "127.0.0.1", "asked.py"],
        cwd=home,
        env=os.environ | {"HOME": str(home), "GUARDED_TOOLS_HOME": str(home / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        found = None
        while found is None and (line := server.stdout.readline()):
            found = re.search(r"http://\S+:\d+\S*", line)
        assert found, "marimo did not say where it listens"
        yield found[0]
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()


def test_buttons_do_in_marimo_what_they_do_in_jupyterlab(chromium, address):
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        page.goto(address)
        board = page.locator(".guarded-tools")
        expect(board.locator(".question")).to_have_count(2, timeout=90_000)  # its kernel imports all of LangChain first
        ann, ben = (board.locator(".question", has_text=f'"customer": "{name}"') for name in ("Ann", "Ben"))
        ann.get_by_role("button", name="Approve").click()
        expect(board).to_contain_text("approved → 500 sent to Ann")
        ben.get_by_text("Edit the arguments").click()
        typed = ben.get_by_label("All arguments")
        typed.fill('{"customer": "Ben", "amount": "much"}')
        expect(ben.locator(".problem")).to_contain_text("valid integer")
        typed.fill('{"customer": "Ben", "amount": 40}')
        expect(ben.locator(".problem")).to_contain_text('+  "amount": 40')
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert unreadable(page.locator(".guarded-tools, .tex2jax_ignore")) == []
        ben.get_by_role("button", name="Run as edited").click()
        expect(board).to_contain_text("run as edited → 40 sent to Ben")
        expect(board).to_contain_text("No question waits. The agent says: All are settled.")
