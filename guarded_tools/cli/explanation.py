"""How an explanation looks at a terminal."""

from __future__ import annotations

from guarded_tools.authoring.explanation import Standing, told
from guarded_tools.cli.console import out, print_folded
from guarded_tools.policy.explain import Explanation
from guarded_tools.text.tones import TERMINAL
from guarded_tools.values import ToolCall


def print_explanation(call: ToolCall, explanation: Explanation, met: Standing) -> None:
    """Print an explanation for a person."""
    from rich.text import Text

    console = out()
    for at, line in enumerate(told(call, explanation, met)):
        said = Text("\n" if line.apart else "")
        for place, piece in enumerate(line.pieces):
            said.append(piece.text, f"{'' if at or place else 'bold '}{TERMINAL[piece.tone]}")
        # A pointer stays whole: one that is cut in two cannot be searched for.
        print_folded(console, said)
