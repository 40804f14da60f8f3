"""The widget that shows questions with buttons wherever anywidget works: JupyterLab, marimo, VS Code, Colab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

_FILES = files(__package__)


class ButtonWidget(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]  # it need not be installed
    """Shows a board of questions. What is pressed or typed there is handed to ``heard``, in the kernel's main thread.

    ``board`` holds ``questions`` in their order, each with its ``key``, ``html``, ``args`` as text and ``offers``:
    pairs of a label and how long an approval is remembered, ``None`` for a question that takes any answer; the HTML
    ``above`` and ``below`` them; whether the buttons are ``busy``; and ``turn``, which grows, so that each is shown.
    """

    _esm = _FILES.joinpath("buttons.js").read_text(encoding="utf-8")
    _css = _FILES.joinpath("buttons.css").read_text(encoding="utf-8")
    board = traitlets.Dict().tag(sync=True)

    def __init__(self, heard: Callable[[Mapping[str, Any]], None], board: Mapping[str, Any]) -> None:
        super().__init__(board=dict(board))
        self.on_msg(lambda _, content, __: heard(content))
