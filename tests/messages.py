"""What the package says, read from its source: every text, and those with which a call is refused or an error raised.

What differs from one time to the next is written as …, as on the pages in ``docs/errors``.
"""

import ast
import functools
import re
from pathlib import Path

import guarded_tools

ROOT = Path(guarded_tools.__file__).parent
PAGES = sorted((ROOT.parent / "docs" / "errors").glob("*.md"))
LEAST = 6
"""So many letters a text has that says what happened; with fewer, another's words are all there is."""


@functools.cache
def nodes():
    """All that stands in the package, with the path of its module."""
    paths = sorted(ROOT.rglob("*.py"))
    return [
        (at.relative_to(ROOT), node) for at in paths for node in ast.walk(ast.parse(at.read_text(encoding="utf-8")))
    ]


def written(node):
    """The text of an expression; ``None`` where it is not written there."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return (written(left) or "…") + (written(right) or "…")
    return None


@functools.cache
def texts():
    """Every text of the package, docstrings apart."""
    docstrings = {id(node.value) for _, node in nodes() if isinstance(node, ast.Expr)}
    found = {written(node) for _, node in nodes() if id(node) not in docstrings}
    return {text for text in found if text and letters(text) >= LEAST}


@functools.cache
def constants():
    """The texts that names stand for, such as the names of rules."""
    found = {}
    for _, node in nodes():
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text))):
                found[name] = text
    return found


@functools.cache
def errors():
    """The names of ``GuardError`` and of all that are one."""
    bases = {
        node.name: {getattr(base, "id", getattr(base, "attr", "")) for base in node.bases}
        for _, node in nodes()
        if isinstance(node, ast.ClassDef)
    }
    found = {"GuardError"}
    while more := {name for name, of in bases.items() if of & found} - found:
        found |= more
    return found


def refusals():
    """Each text that refuses a call or that an error says: where, and the text. A policy's problems are too many."""
    said = dict.fromkeys(errors() - {"PolicyError"}, 0) | {
        "Unanswered": 0,
        "Altered": 0,
        "refusal": 1,
    }
    for path, node in nodes():
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            at = 2 if name == "Decision" and written(node.args[0]) == "deny" else said.get(name)
            text = at is not None and len(node.args) > at and written(node.args[at])
            if text and letters(text) >= LEAST:
                yield f"{path}:{node.lineno}", text


def rules():
    """The names of rules that stand in no policy."""
    for path, node in nodes():
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in {
            "Decision",
            "_replace",
        }:
            named = [*node.args[1:2], *(keyword.value for keyword in node.keywords if keyword.arg == "rule")]
            for each in named:
                text = constants().get(each.id) if isinstance(each, ast.Name) else written(each)
                if text and re.fullmatch(r"\([\w …]+\)|/\w+", text):
                    yield f"{path}:{node.lineno}", text


def letters(text):
    return len(re.findall(r"\w", text.replace("…", "")))


def lines():
    """What the pages say a message is: each heading of the third level, and each line of a block of text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"^```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        for line in [*re.findall(r"^### (.*)$", text, re.MULTILINE), *"".join(blocks).splitlines()]:
            yield page, line


def says(line, text):
    """Whether a text is the message of a line: all of its words, in this order."""
    at = 0
    for part in line.split("…"):
        at = text.find(part.strip(), at)
        if at < 0:
            return False
        at += len(part.strip())
    return True
