"""Asking in a real JupyterLab, in a real browser: what is pressed there runs, and the page says what became of it.

With GUARDED_TOOLS_SCREENSHOTS set, it draws the pictures of docs/notebooks.md anew.
"""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from tests import forked
from tests.browsing import MARKS, picture, unreadable

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("jupyterlab")
expect = sync_api.expect
pytestmark = MARKS

CELLS = [
    "from agents import *\nran",
    "buttons = ask('Ann', 'Ben', 'Cem', 'Dan')",
    "print(guarded.invoke({'customer': 'Eve\\nis a \"friend\"', 'amount': 500}))",
    "guarded.invoke({'customer': 'Ann', 'amount': 5000})\nfor shown in (Guard('standard', store='memory://').policy, guard.audit, guard.usage()): display(shown)",
    "buttons = ask('Eve\\nis a \"friend\"', '<img src=x onerror=\"window.hit=1\"><script>window.hit=1</script>')",
]

# The words of a table that stand on two lines.
BROKEN = """(root) => {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (texts.nextNode()) {
    for (const word of texts.currentNode.data.matchAll(/[\\w.,:#]{2,24}/g)) {
      const range = document.createRange();
      range.setStart(texts.currentNode, word.index);
      range.setEnd(texts.currentNode, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((one) => Math.round(one.top))).size > 1) found.push(word[0]);
    }
  }
  return found;
}"""


class Lab:
    """A notebook that is open in JupyterLab. ``page`` is the browser's."""

    def __init__(self, page):
        self.page = page

    def run(self, number):
        """Run a cell, and return what it is and shows."""
        cell = self.page.locator(".jp-CodeCell").nth(number)
        cell.locator(".cm-content").click()
        expect(cell.locator(".cm-focused")).to_have_count(1)
        self.page.keyboard.press("Control+Enter")
        return cell

    def theme(self, name):
        self.page.evaluate("name => jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
        dark = "Dark" in name
        expect(self.page.locator(f"body[data-jp-theme-light={str(not dark).lower()}]")).to_have_count(1)
        expect(self.page.locator("#jupyterlab-splash")).to_have_count(0)

    def copied(self, first, last):
        """What is in the clipboard after a mouse went from one element's beginning to another's end, and Ctrl+C."""
        first.scroll_into_view_if_needed()
        mouse, begin = self.page.mouse, first.bounding_box()
        mouse.move(begin["x"] + 1, begin["y"] + begin["height"] / 2)
        mouse.down()
        end = last.bounding_box()
        mouse.move(end["x"] + end["width"] - 1, end["y"] + end["height"] / 2, steps=5)
        mouse.up()
        self.page.keyboard.press("Control+C")
        return self.page.evaluate("navigator.clipboard.readText()")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A JupyterLab of its own, with one notebook; nobody's settings, kernels or files."""
    home = tmp_path_factory.mktemp("lab")
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    shutil.copy(Path(__file__).with_name("notebook_agents.py"), home / "agents.py")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), home / "asked.ipynb")
    news = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    own = {"HOME": home, "IPYTHONDIR": home / "ipython", "JUPYTERLAB_SETTINGS_DIR": home / "settings"}
    own |= {f"JUPYTER_{kind}_DIR": home / kind.lower() for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"GUARDED_TOOLS_HOME": home / "state"}
    options = ["--no-browser", "--allow-root", "--LabApp.expose_app_in_browser=True", "--ServerApp.ip=127.0.0.1"]
    options += ["--ServerApp.port=0", "--IdentityProvider.token=lab", f"--ServerApp.root_dir={home}"]
    server = forked.Popen(
        [sys.executable, "-m", "jupyterlab", *options],
        env=os.environ | {name: str(path) for name, path in own.items()},
        stderr=forked.PIPE,
    )
    try:
        found = None
        while found is None and (line := server.stderr.readline()):
            found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, "JupyterLab did not say where it listens"
        yield f"{found[0]}doc/tree/asked.ipynb?token=lab"
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()


@pytest.fixture(scope="module")
def lab(chromium, address):
    with chromium.new_context(viewport={"width": 1000, "height": 900}) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        page.goto(address)
        lab = Lab(page)
        expect(page.locator(".jp-CodeCell")).to_have_count(len(CELLS))
        expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=90_000)
        expect(lab.run(0).locator(".jp-OutputArea-output")).to_have_text("[]", timeout=90_000)
        yield lab


THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def card_of(lab, customer):
    return lab.page.locator(".guarded-tools .question", has_text=f'"customer": "{customer}"')


def readable(lab, shown):
    """Everything in there can be read, in both themes."""
    for name in ("dark", "light"):
        lab.theme(THEMES[name])
        assert unreadable(shown) == [], name


def test_every_button_and_what_became_of_it(lab):
    cell = lab.run(1)
    board = cell.locator(".guarded-tools")
    expect(board.locator(".question")).to_have_count(4)
    card_of(lab, "Ann").get_by_role("button", name="Approve").click()
    expect(board).to_contain_text("approved → 500 sent to Ann")

    ben = card_of(lab, "Ben")
    ben.get_by_text("Edit the arguments").click()
    box = ben.get_by_label("All arguments, as a JSON object")
    assert box.evaluate("box => box.scrollHeight <= box.clientHeight && box.value.split('\\n').length") == 4
    for typed, said in (
        ('{"customer": "Ben", "amount": ', "not accepted: "),
        ('{"customer": "Ben",\n"amount":\n\n\n"much"}', "valid integer"),
        ('{"customer": "Ben", "amount": 2000}', "not accepted: over 1000 goes through accounting"),
        ('{"customer": "Ben", "amount": 40}', '+  "amount": 40'),
    ):
        box.fill(typed)
        expect(ben.locator(".problem")).to_contain_text(said)
        assert box.evaluate("box => box.scrollHeight <= box.clientHeight")
        for name in THEMES if "+" in said else ():
            lab.theme(THEMES[name])
            board.scroll_into_view_if_needed()
            picture(lab.page, f"notebook-buttons-{name}")
    readable(lab, board)
    ben.get_by_role("button", name="Run as edited").click()
    expect(board).to_contain_text("run as edited → 40 sent to Ben")

    card_of(lab, "Cem").get_by_role("button", name="Answer in its place").click()
    expect(card_of(lab, "Cem")).to_contain_text("write the answer first")
    card_of(lab, "Dan").get_by_label("why not").fill("paid already")
    card_of(lab, "Dan").get_by_role("button", name="Reject").click()
    expect(board).to_contain_text("rejected: paid already")
    card_of(lab, "Cem").get_by_text("Edit the arguments").click()
    card_of(lab, "Cem").get_by_label("All arguments").fill('{"customer": "Cem", "amount": 1000}')
    card_of(lab, "Cem").get_by_role("button", name="Run as edited").click()
    expect(board).to_contain_text("your edit was refused: a limit of 1500 in a day is used up")
    expect(board).to_contain_text("No question waits. The agent says: All are settled.")
    readable(lab, board)
    expect(lab.run(0).locator(".jp-OutputArea-output")).to_have_text("[('Ann', 500), ('Ben', 40)]")


def test_what_is_copied_is_json_and_what_attacks_does_nothing(lab):
    cell = lab.run(4)
    board = cell.locator(".guarded-tools")
    expect(board).to_contain_text("onerror=")
    assert lab.page.evaluate("window.hit") is None
    assert board.locator("img, script").count() == 0
    eve = board.locator(".question", has_text="is a")
    rows = eve.locator("div[style*=pre-wrap]")
    first = rows.filter(has_text=re.compile(r"^\{$"))
    copied = lab.copied(first, rows.filter(has_text=re.compile(r"^\}$")))
    assert "│" not in copied
    assert json.loads(copied) == {"amount": 500, "customer": 'Eve\nis a "friend"'}


def test_typed_under_the_running_cell(lab):
    cell = lab.run(2)

    def box(prompt):
        return cell.locator(".jp-Stdin", has_text=prompt).locator("input.jp-Stdin-input")

    expect(box("your answer")).to_be_visible()
    for name, theme in THEMES.items():
        lab.theme(theme)
        cell.scroll_into_view_if_needed()
        picture(lab.page, f"notebook-cell-{name}")
    box("your answer").fill("e")
    box("your answer").press("Enter")
    expect(box("all arguments")).to_be_visible()
    rows = cell.locator(".tex2jax_ignore", has_text="To copy and change").locator("div")
    copied = lab.copied(rows.first, rows.last)
    assert json.loads(copied) == {"amount": 500, "customer": 'Eve\nis a "friend"'}
    box("all arguments").click()
    lab.page.keyboard.press("Control+V")
    pasted = box("all arguments").input_value()
    assert json.loads(pasted) == json.loads(copied)
    box("all arguments").fill(pasted.replace("500", "5"))
    box("all arguments").press("Enter")
    expect(cell).to_contain_text('+  "amount": 5,')
    box("y to run").fill("y")
    box("y to run").press("Enter")
    expect(cell).to_contain_text("your answer: edit")
    expect(cell).to_contain_text("5 sent to Eve")
    readable(lab, cell.locator(".tex2jax_ignore"))


def test_no_word_of_a_table_is_broken(lab):
    lab.page.set_viewport_size({"width": 700, "height": 900})
    cell = lab.run(3)
    expect(cell.locator("table")).to_have_count(4)
    assert cell.locator(".jp-OutputArea").first.evaluate(BROKEN) == []
    wide = "tables => tables.map((table) => getComputedStyle(table.closest('.jp-OutputArea-output')).overflowX)"
    assert set(cell.locator("table").evaluate_all(wide)) == {"auto"}
    readable(lab, cell.locator(".tex2jax_ignore"))
