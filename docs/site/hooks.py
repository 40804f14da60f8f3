"""What the site shows beside the pages of ``docs/``: every file of the repository that a page links to.

A link is written once, so that it works where the repository is browsed. Here a file outside of ``docs/`` keeps its path
from the repository's root, one inside loses ``docs/``; Markdown is a page, a notebook or a source file becomes one, a
folder a list. The README is the first page.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
PACKAGE = "guarded_tools"

LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\]\()([^)\s#]+)?(#[^)\s]+)?\)")
PICTURE = re.compile(r'(\b(?:src|srcset)=")([^":]+)(")')
FENCED = re.compile(r"^(?P<fence>`{3,})[^\n]*\n.*?^(?P=fence)$", re.DOTALL | re.MULTILINE)
# A word after the language tells our tests what a block is for.
NOTED = re.compile(r"^(`{3,}\w+) (\S+)$", re.MULTILINE)
NOTES = {
    "attack": "the attack",
    "pinned": "the attack, where the tools are pinned",
    "without": "without the rule",
    "run": "",
}
LANGUAGES = {".py": "python", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".service": "ini"}
MODULE = re.compile(r"^\| `(guarded_tools(?:\.\w+)?)` \|", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Make anchors as the repository's own pages have them, so that one link fits both."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the pages link to, what those link to, and a page for each module that may be imported."""
    for asset in ("site.css", "iframe-worker.js"):
        files.append(File.generated(config, f"assets/{asset}", abs_src_path=str(Path(__file__).with_name(asset))))
    waiting = [ROOT / file.src_uri for file in _missing(files, config)]
    waiting += [ROOT / "docs" / file.src_uri for file in files.documentation_pages()]
    while waiting:
        path = waiting.pop()
        uri = uri_of(path)
        if files.get_file_from_path(uri) is None:
            files.append(_file(config, path, uri))
        waiting += [other for other in linked(path) if files.get_file_from_path(uri_of(other)) is None]
    for module in MODULE.findall((ROOT / "docs/api.md").read_text(encoding="utf-8")):
        files.append(File.generated(config, f"api/{module}.md", content=reference(module)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has what they name, and read what stands beside a block's language."""
    where = path_of(page.file.src_uri)
    page.meta["search"] = _searched(page.file.src_uri)
    if page.file.src_uri == "api.md":
        markdown = MODULE.sub(r"| [`\1`](api/\1.md) |", markdown)
    if where.exists():
        markdown = outside_code(markdown, lambda text: LINK.sub(lambda link: _led(link, where), text))
        markdown = outside_code(markdown, lambda text: PICTURE.sub(lambda shown: _shown(shown, where), text))
    return NOTED.sub(_titled, markdown)


def uri_of(path: Path) -> str:
    """Where the site has a file or folder of the repository."""
    uri = path.relative_to(ROOT).as_posix().removeprefix("docs/")
    if path.is_dir():
        return f"{uri}/index.md"
    return uri if path.suffix in {".md", ".png", ".svg", ".gif"} else f"{uri}.md"


def path_of(uri: str) -> Path:
    """Which file or folder of the repository a page shows."""
    for path in (ROOT / "docs" / uri, ROOT / uri):
        for shown in (path, path.with_suffix(""), path.parent):
            if shown.exists() and uri_of(shown) == uri:
                return shown
    return ROOT / "docs" / uri


def linked(path: Path) -> Iterator[Path]:
    """Files and folders of the repository that a page links to."""
    if path.is_dir():
        yield from _listed(path)
    elif path.suffix in {".md", ".ipynb"}:
        text = page_of(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        for found in LINK.finditer(FENCED.sub("", text)):
            if target := _target(path, found):
                yield target


def outside_code(markdown: str, change: object) -> str:
    """Change a page's text, and not what stands in its blocks of code."""
    done, at = [], 0
    for block in FENCED.finditer(markdown):
        done += [change(markdown[at : block.start()]), block[0]]
        at = block.end()
    return "".join([*done, change(markdown[at:])])


def page_of(path: Path) -> str:
    """Show a source file, a notebook or a folder as a page."""
    title = f"# {path.name}\n\n"
    if path.is_dir():
        return title + "".join(f"- [{each.name}]({each.name})\n" for each in _listed(path))
    if path.suffix == ".ipynb":
        return "\n\n".join(_cells(json.loads(path.read_text(encoding="utf-8"))))
    return title + _block(LANGUAGES.get(path.suffix, "text"), path.read_text(encoding="utf-8"))


def reference(module: str) -> str:
    """The page of a module: its public names; of the package itself, those that ``__all__`` lists."""
    if module != PACKAGE:
        told = re.search(
            rf"^\| `{re.escape(module)}` \|(.*)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE
        )
        names = re.findall(r"`(\w+)`", told[1]) if told else []
        inside = [name for name in names if (ROOT / module.replace(".", "/") / f"{name}.py").exists()]
        parts = [f"::: {module}\n    options: {{show_root_toc_entry: false, show_root_heading: false}}"]
        parts += [
            f"::: {module}.{name}\n    options: {{show_root_heading: true, show_root_full_path: false}}"
            for name in inside
        ]
        return "\n\n".join([f"# `{module}`", *parts])
    sys.path.insert(0, str(ROOT))  # it loads nothing but itself
    import guarded_tools

    names = sorted(set(guarded_tools.__all__) - {"__version__"}, key=lambda name: (name != "Guard", name.lower()))
    return "\n\n".join([f"# `{module}`", *(f"::: {module}.{name}\n{_options(name)}" for name in names)])


def _searched(uri: str) -> dict[str, object]:
    """How the search ranks a page: whoever pastes a message wants its section; sources are found by way of pages."""
    if uri.startswith("errors/"):
        return {"boost": 4}
    beside = uri.startswith(("benchmarks/", "notebooks/", "CHANGELOG")) or uri.endswith(
        (".py.md", ".yaml.md", ".ipynb.md")
    )
    return {"boost": 0.3} if beside else {}


def _options(name: str) -> str:
    guard = name == "Guard"  # what it has from its base is as public; the rest of the base is not
    inherited = "[policy, reload, areload, for_session, explain, call, acall]" if guard else "false"
    bases = "false" if guard else "true"
    return f"    options: {{show_root_heading: true, show_root_full_path: false, inherited_members: {inherited}, show_bases: {bases}}}"


def _missing(files: Files, config: MkDocsConfig) -> list[File]:
    """Pages that ``nav`` names, and that are not in ``docs/``."""

    def named(nav: object) -> Iterator[str]:
        for entry in nav if isinstance(nav, list) else nav.values() if isinstance(nav, dict) else [nav]:
            yield from [entry] if isinstance(entry, str) else named(entry)

    missing = [uri for uri in named(config.nav) if files.get_file_from_path(uri) is None and (ROOT / uri).exists()]
    return [File.generated(config, uri, content="") for uri in missing]


def _file(config: MkDocsConfig, path: Path, uri: str) -> File:
    if path.is_file() and path.suffix in {".md", ".png", ".svg", ".gif"}:
        return File.generated(config, uri, abs_src_path=str(path))
    return File.generated(config, uri, content=page_of(path))


def _listed(folder: Path) -> list[Path]:
    return [
        each for each in sorted(folder.iterdir()) if each.is_file() and each.suffix in {".ipynb", ".md", *LANGUAGES}
    ]


def _target(page: Path, link: re.Match[str]) -> Path | None:
    """The file or folder of the repository that a link leads to."""
    if not link[2] or ":" in link[2]:
        return None
    target = ((page if page.is_dir() else page.parent) / link[2]).resolve()
    return target if target.is_relative_to(ROOT) and target.exists() else None


def _led(link: re.Match[str], page: Path) -> str:
    target = _target(page, link)
    if target is None:
        return link[0]
    here = PurePosixPath(uri_of(page)).parent
    return f"{link[1]}{posixpath.relpath(uri_of(target), here)}{link[3] or ''})"


def _shown(picture: re.Match[str], page: Path) -> str:
    here = PurePosixPath(uri_of(page)).parent
    return f"{picture[1]}{posixpath.relpath(uri_of((page.parent / picture[2]).resolve()), here)}{picture[3]}"


def _titled(fence: re.Match[str]) -> str:
    title = NOTES.get(fence[2], fence[2])
    return f'{fence[1]} title="{title}"' if title else fence[1]


def _block(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _cells(notebook: dict[str, object]) -> Iterator[str]:
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        elif source:
            yield _block("python", source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if picture := data.get("image/png"):
                yield f"![what the cell shows](data:image/png;base64,{''.join(picture).replace(chr(10), '')})"
            elif text := "".join(output.get("text", data.get("text/plain", ()))):
                yield _block("text", re.sub(r"\x1b\[[0-9;]*m", "", text))
