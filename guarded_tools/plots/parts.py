"""What the drawings share: the figure, colours, rows, legends. No text that is drawn acts or is read as a formula."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, Final

from guarded_tools.errors import not_installed
from guarded_tools.text.tones import OUTCOMES, look
from guarded_tools.text.visible import one_line

try:  # first of all that needs it: who lacks it is told what to install
    from matplotlib.axes import Axes
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as error:
    raise not_installed("matplotlib is not installed", "notebook") from error

__all__ = [
    "COLOURS",
    "Axes",
    "ConciseDateFormatter",
    "Figure",
    "FuncFormatter",
    "MaxNLocator",
    "Picture",
    "bars",
    "legend",
    "legible",
    "name_rows",
    "nothing",
    "ordered",
    "place_legend",
    "short",
]

COLOURS: Final = {outcome: shown.colour for outcome, shown in OUTCOMES.items()}
"""The colour of each outcome, in the order in which they are stacked: what ran first, what was refused last."""


_ROOMY: Final = 8  # rows


class Picture(Figure):
    """A figure that any notebook shows, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        target = io.BytesIO()
        self.savefig(target, format="png", dpi=110, facecolor="white")
        return target.getvalue()


def bars(axes: Axes, labels: list[str], parts: list[list[tuple[str, int]]]) -> None:
    """Draw a bar a row, stacked by outcome."""
    for position, row in enumerate(parts):
        left = 0
        for outcome, number in row:
            axes.barh(position, number, left=left, color=look(outcome).colour, height=0.6)
            left += number
    name_rows(axes, labels, size=9 if len(labels) <= _ROOMY else 7)  # two lines a row do not touch


def name_rows(axes: Axes, labels: list[str], size: int = 9) -> None:
    """Name the rows, the first on top."""
    axes.set_yticks(range(len(labels)), labels, fontsize=size, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)


def legend(axes: Axes, outcomes: Iterable[str], *, below: bool = False) -> None:
    """Say which colour is which outcome."""
    found = ordered(set(outcomes))
    for outcome in found:
        axes.bar(0, 0, color=look(outcome).colour, label=legible(outcome))
    place_legend(axes, len(found), below=below)


def place_legend(axes: Axes, columns: int, *, below: bool = False) -> None:
    """Put the legend beside the title or below, where no bar can reach it."""
    place: Any = ("upper right", (1, -0.15)) if below else ("lower right", (1, 1))
    style: Any = {"fontsize": 8, "handlelength": 1, "columnspacing": 1, "frameon": False}
    axes.legend(loc=place[0], bbox_to_anchor=place[1], ncols=columns, **style)


def nothing(axes: Axes, text: str) -> None:
    """Say that there is nothing to draw."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#777777")
    axes.set_axis_off()


def ordered(outcomes: Iterable[str]) -> list[str]:
    """List outcomes in the order in which they are stacked."""
    order = list(COLOURS)
    return sorted(outcomes, key=lambda name: (order.index(name) if name in COLOURS else len(order), name))


def short(text: str, size: int = 36) -> str:
    """Cut a text, in which nothing acts, to a size."""
    text = one_line(text.replace("\n", " "))
    return text if len(text) <= size else f"{text[: size - 1]}…"


def legible(text: str) -> str:
    """Write a text for a legend, which reads formulas and cannot be told not to."""
    return short(text, 20).replace("$", r"\$")
