"""Record the demo in a real terminal, as pictures: ``make pictures``.

``guarded-tools demo`` runs in a pseudo-terminal, somebody presses the keys of `KEYS` when it asks, and what a terminal
would have shown is drawn: as it went along (``demo``), and a question (``card``); each on light and on dark.
Waits are cut short; nothing else is changed.
"""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from fcntl import ioctl
from html import escape
from itertools import groupby
from pathlib import Path

import pyte

COLUMNS, ROWS = 92, 31
KEYS = ("a", "a", "t")
"""What is answered: this call, this call, any arguments of this tool."""
QUESTION = "your answer"
LONGEST_WAIT = 1.2  # seconds, of what is shown
READING = 3.5  # seconds that a question stands, and
END = 8.0  # that the end does
CELL, LINE = 8.4, 18  # pixels at a size of 14

THEMES = {
    "light": {
        "back": "#ffffff", "edge": "#d0d7de", "text": "#24292f", "red": "#cf222e", "green": "#116329", "yellow": "#7d4e00",
        "brown": "#7d4e00", "blue": "#0550ae", "magenta": "#8250df", "cyan": "#1b7c83", "black": "#57606a", "white": "#24292f",
    },
    "dark": {
        "back": "#0d1117", "edge": "#30363d", "text": "#e6edf3", "red": "#ff7b72", "green": "#7ee787", "yellow": "#e3b341",
        "brown": "#e3b341", "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "black": "#8b949e", "white": "#e6edf3",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Cells beside each other that look alike."""

    text: str
    colour: str
    bold: bool


Row = tuple[Piece, ...]


@dataclass(frozen=True)
class Frame:
    """What stood on the screen, and for how many seconds."""

    rows: tuple[Row, ...]
    lasts: float

    @property
    def asks(self) -> bool:
        """Whether a question waits."""
        return any(QUESTION in piece.text for row in self.rows for piece in row)


def record(words: list[str], cwd: str) -> list[Frame]:
    """Run a command in a terminal, and return what it showed."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    running = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd, start_new_session=True
    )
    os.close(theirs)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    keys, frames, since = list(KEYS), [], time.monotonic()
    while True:
        before = shown(screen)
        try:
            heard = ours in select.select([ours], [], [], 0.1)[0]
            if heard:
                stream.feed(os.read(ours, 65536))
        except OSError:  # the end of it
            break
        now = time.monotonic()
        if shown(screen) != before:
            frames.append(Frame(before, now - since))
            since = now
        asks = QUESTION in screen.display[screen.cursor.y]
        if asks and now - since > 0.4 and keys:
            os.write(ours, f"{keys.pop(0)}\r".encode())
            time.sleep(0.3)
    frames.append(Frame(shown(screen), END))
    if running.wait() or keys:
        raise SystemExit(f"the demo failed, or asked less often than expected: {screen.display}")
    return frames


def shown(screen: pyte.Screen) -> tuple[Row, ...]:
    """Take down what a screen shows."""
    rows = []
    for number in range(ROWS):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        while cells and cells[-1].data == " ":
            cells.pop()
        rows.append(
            tuple(
                Piece("".join(cell.data for cell in alike), colour, bold)
                for (colour, bold), alike in groupby(cells, lambda cell: (cell.fg, cell.bold))
            )
        )
    return tuple(rows)


def timed(frames: list[Frame]) -> list[Frame]:
    """Cut waits short, leave questions the time to be read, and join what is too quick to be seen."""
    told: list[Frame] = []
    carried = 0.0
    for frame, following in zip(frames, [*frames[1:], None], strict=True):
        lasts = carried + min(frame.lasts, LONGEST_WAIT)
        carried = 0.0
        if following is None:
            lasts = END
        elif frame.asks and not following.asks:
            lasts = READING
        elif frame.asks or lasts < 0.08:  # of one question, the last; a countdown is not shown going down
            carried = 0.0 if frame.asks else lasts
            continue
        told.append(Frame(frame.rows, lasts))
    return told


def drawn(frames: list[Frame], theme: dict[str, str], about: str) -> str:
    """Draw frames as one picture, which runs for ever where there are several."""
    width, height = COLUMNS * CELL + 32, ROWS * LINE + 28
    whole = sum(frame.lasts for frame in frames)
    named: dict[Row, str] = {}
    scenes, styles, at = [], [], 0.0
    for number, frame in enumerate(frames):
        uses = []
        for position, row in enumerate(frame.rows):
            if row:
                name = named.setdefault(row, f"r{len(named)}")
                uses.append(f'<use href="#{name}" y="{position * LINE}"/>')
        scenes.append(f'<g class="f" id="f{number}">{"".join(uses)}</g>')
        begin, end = at / whole * 100, (at + frame.lasts) / whole * 100
        at += frame.lasts
        if len(frames) > 1:
            first = "" if number == 0 else "0%{visibility:hidden}"
            styles.append(
                f"@keyframes k{number}{{{first}{begin:.3f}%{{visibility:visible}}{end:.3f}%{{visibility:hidden}}}}"
                f"#f{number}{{animation:k{number} {whole:.2f}s step-end infinite}}"
            )
    # Who asks for less motion sees the end.
    still = f"@media(prefers-reduced-motion:reduce){{.f{{animation:none!important}}#f{len(frames) - 1}{{visibility:visible}}}}"
    hidden = ".f{visibility:hidden}" + still if len(frames) > 1 else ""
    defs = "".join(f'<g id="{name}">{_row(row, theme)}</g>' for row, name in named.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="{escape(about)}">'
        f"<title>{escape(about)}</title><style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',"
        f"monospace;white-space:pre}}.b{{font-weight:bold}}{hidden}{''.join(styles)}</style>"
        f'<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1}" rx="8" fill="{theme["back"]}" stroke="{theme["edge"]}"/>'
        f'<defs>{defs}</defs><g transform="translate(16,26)">{"".join(scenes)}</g></svg>\n'
    )


def _row(row: Row, theme: dict[str, str]) -> str:
    said, column = [], 0
    for piece in row:
        words = piece.text.strip(" ")
        if words:
            begin = column + len(piece.text) - len(piece.text.lstrip(" "))
            colour = (
                theme["text"]
                if piece.colour == "default"
                else theme.get(piece.colour.removeprefix("bright"), theme["text"])
            )
            bold = ' class="b"' if piece.bold else ""
            said.append(
                f'<text x="{begin * CELL:.1f}" textLength="{len(words) * CELL:.1f}" fill="{colour}"{bold}>{escape(words)}</text>'
            )
        column += len(piece.text)
    return "".join(said)


def main(python: str, folder: Path) -> None:
    """Write the pictures into a folder; ``python`` has the package."""
    with tempfile.TemporaryDirectory() as home:
        frames = timed(record([python, "-m", "guarded_tools.cli", "demo", "--state", "state"], home))
        plot = (
            "import sys; from guarded_tools import plots;"
            " plots.overview(sys.argv[1]).savefig(sys.argv[2], dpi=70, metadata={'Software': None})"
        )
        subprocess.run([python, "-c", plot, f"{home}/state/audit.jsonl", folder / "overview.png"], check=True)
    question = next(frame for frame in frames if frame.asks)
    for name, theme in THEMES.items():
        about = "guarded-tools demo in a terminal: an agent gets carried away, a human is asked, and the guard holds"
        (folder / f"demo-{name}.svg").write_text(drawn(frames, theme, about), encoding="utf-8")
        about = "A question in the terminal: what will run, at which risk, how full its limits are, its arguments, and the answers"
        (folder / f"card-{name}.svg").write_text(drawn([question], theme, about), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
