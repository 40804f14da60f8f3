"""The notebooks run from the top in a real kernel, tell what they promise, and keep what they told."""

import importlib.util
import re
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What a reader is there to see. It has to be in the outputs that are kept, and come again when the notebook runs.
TOLD = {
    "01_quickstart": [
        "DENIED: pictify_create_experiment did not run.",
        "Experiment exp_000001 is running.",
        "Counter({'ran': 30, 'refused': 10})",
        "Who was refused what, and why",
        "30 of 30",
    ],
    "02_policy": [
        "unknown key 'approvel' (did you mean approval?)",
        "saw 250",
        "refunds over 1000 go through accounting",
        "4 of 4 cases passed",
        "Who would have been refused what, and why",
        "31 tools of pictify: 13 read, 12 write, 3 execute, 3 destructive",
    ],
    "03_approvals": [
        "200 sent to Ann",
        "ask Ann first",
        "NotebookApprover cannot ask in a notebook that runs without anybody at it",
        "refund {'amount': 500, 'customer': 'Ben'}",
        "Ben was refunded last week",
        "tool: 500 sent to Ben",
    ],
    "04_what_happened": [
        "not on a Tuesday",
        "a limit of 30 in a minute is used up (30 used)",
        "audit.jsonl:21: edited",
        "are cut off the end",
    ],
    "05_your_own_server": [
        "3 tools of notes: 1 read, 1 write, 1 destructive",
        "no passwords in notes",
        "deleted: buy milk",
        "I still need it",
    ],
    "06_across_calls": [
        "Ann: 12,000 a year",
        "this session read untrusted content (read_inbox, ",
        "['outward', 'private']",
    ],
    "07_budgets": [
        "6 calls of the model; The run ends here, for the model was not called: a limit of 2 USD in a day is used up",
        "4 calls of the model; The run ends here, for the model was not called: a limit of 5 USD in 30 days is used up",
        "asked: {'for': 3600, 'model': 'scriptedmodel:ScriptedModel', 'more': {'usd': '1.00'}}",
        "That is enough.",
    ],
}
PICTURES = {"01_quickstart": 1, "04_what_happened": 1, "06_across_calls": 1, "07_budgets": 1}


@pytest.fixture(scope="module")
def execute():
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.execute


def outputs(notebook):
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def told(notebook):
    """All texts that a reader sees in the outputs, without tags and colours."""
    parts = []
    for output in outputs(notebook):
        data = output.get("data", {})
        parts += [output.get("text", ""), data.get("text/plain", ""), re.sub("<[^>]+>", " ", data.get("text/html", ""))]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(parts))


def check(notebook, name):
    text = told(notebook)
    for expected in TOLD[name]:
        assert expected in text, expected
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) == PICTURES.get(name, 0)
    assert not [
        output
        for output in outputs(notebook)
        # A server may start slowly here, and whoever looks on is told so.
        if output.output_type == "error"
        or (output.get("name") == "stderr" and not re.fullmatch(r"(waiting for \w+ …\s+)+", output.get("text", "")))
    ]


def test_there_are_seven_stories():
    assert [path.stem for path in NOTEBOOKS] == sorted(TOLD)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_keeps_what_it_told(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    check(notebook, path.stem)
    text = path.read_text()
    assert not re.search(r"/(tmp|root|home|work|usr|Users)/", text)
    assert len(text) < 500_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_top(path, execute, tmp_path):
    start = time.monotonic()
    check(execute(path, tmp_path), path.stem)
    assert time.monotonic() - start < 60
