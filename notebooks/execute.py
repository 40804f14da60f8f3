"""Runs the notebooks in fresh kernels, each with a directory and a state of its own.

``python notebooks/execute.py [NAME…]`` writes what they print into them, which is how their outputs came to be.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def execute(path: Path, workplace: Path, timeout: int = 60) -> nbformat.NotebookNode:
    """Run a notebook in ``workplace`` and return it with its outputs, in which no path of this machine is left.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(workplace)}},
        store_widget_state=False,
        record_timing=False,
    )
    own = {"GUARDED_TOOLS_HOME": str(workplace / "state"), "TMPDIR": str(workplace), "COLUMNS": "100"}
    environment = os.environ | own
    environment.pop("MODEL", None)
    client.execute(env=environment)
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            _shorten(output, str(workplace))
            shown = output.get("data", {})
            if "text/html" in shown:  # the text beside it is for those who see no HTML, and long
                shown["text/plain"] = shown["text/plain"][:200]
    return notebook


def _shorten(value: dict, workplace: str) -> None:
    for key, text in value.items():
        if isinstance(text, dict):
            _shorten(text, workplace)
        elif isinstance(text, str):
            # A notebook's own temporary directory is in the workplace, under another name each time.
            text = re.sub(rf"{re.escape(workplace)}/tmp\w{{8}}/", "", text)
            value[key] = text.replace(f"{workplace}/", "").replace(workplace, ".")


def main(names: list[str]) -> None:
    """Run the notebooks that were named, or all, and keep their outputs."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as workplace:
            notebook = execute(path, Path(workplace))
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main(sys.argv[1:])
