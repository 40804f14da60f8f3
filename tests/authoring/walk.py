"""Walks a page: runs its commands and programs, writes its files, applies its edits, and compares what it shows.

What stands behind a fence's language says what is meant: ``yaml NAME`` writes a file, ``diff NAME`` edits one,
``python run`` runs, and ``text`` is what the program before it printed. A command whose line ends with ``# exit 1``
ends with that code, and any other with 0. A line that is ``…`` stands for any lines; days, times and ages are anybody's.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_MOMENT = re.compile(r"(?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d")


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Yield the fences of a page: the language, what stands behind it, the text."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(\w+) ?([^\n]*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
        yield found[2], found[3], re.sub(f"^{found[1]}", "", found[4], flags=re.MULTILINE)


def edit(path: Path, diff: str) -> None:
    """Apply a hunk of the page: what it shows without + must stand in the file, and becomes what it shows without -."""
    lines = diff.splitlines()
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def same(shown: str, printed: str) -> None:
    """Compare what a page shows with what was printed."""
    lines = [_MOMENT.sub("(moment)", line.rstrip()) for line in shown.splitlines()]
    found = [_MOMENT.sub("(moment)", line.rstrip()) for line in printed.splitlines()]
    pattern = "".join(r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n" for line in lines)
    text = "".join(f"{line}\n" for line in found)
    assert re.fullmatch(pattern, text), f"the page shows\n{shown}\nand this was printed\n{printed}"


def walk(page: str, cli: Callable, folder: Path, capsys, road: Callable[[str], str] = str) -> list[str]:
    """Walk a page in a folder, and return the names of the commands that ran. ``road`` may change what runs."""
    ran, printed = [], ""
    for kind, mark, text in blocks(page):
        if kind == "console":
            for line, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
                ran.append(_command(road(line), shown, cli, folder))
        elif kind == "diff":
            edit(folder / mark, text)
        elif kind == "yaml" and mark:
            (folder / mark).write_text(text)
        elif kind == "python" and mark == "run":
            exec(compile(road(text), page, "exec"), {})
            printed = capsys.readouterr().out
        elif kind == "text":
            same(text, printed)
    return ran


def _command(line: str, shown: str, cli: Callable, folder: Path) -> str:
    program, *words = shlex.split(line, comments=True)
    if program == "cp":
        shutil.copyfile(*(folder / word for word in words))
        return program
    assert program == "guarded-tools", line
    ending = re.search(r"  # exit (\d)$", line)
    result = cli(*words)
    assert result.code == (int(ending[1]) if ending else 0), (line, result)
    if shown:
        same(shown, result.out + result.err)
    return words[0]
