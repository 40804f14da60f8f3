"""Check the built site: every link and anchor inside leads somewhere, links outside are well formed, nothing is fetched.

``python docs/site/check.py build/site``. Works without a network, so what stands behind a link outside is not looked at.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Of a tag, the attribute whose address a browser fetches by itself.
FETCHED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "srcset",
    "video": "src",
    "audio": "src",
    "link": "href",
}


class Read(HTMLParser):
    """What a page links to, what it has its browser fetch, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name") if tag == "a" else None) if name}
        if tag == "a" and found.get("href"):
            self.links.append(str(found["href"]))
        if address := found.get(FETCHED.get(tag, "")):
            self.fetched.append(address)


def problems(site: Path) -> list[str]:
    """All that is wrong with a site, each with the page it is on."""
    pages = {path: Read(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        if name.name == "404.html":  # its addresses begin at the server's root
            continue
        found += [f"{name}: {why}: {link}" for link in page.links if (why := wrong_link(path, link, pages))]
        found += [f"{name}: {why}: {link[:100]}" for link in page.fetched if (why := wrong_source(path, link))]
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        outside = re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", text)
        found += [f"{path.relative_to(site)}: fetched from elsewhere: {link}" for link in outside]
    return found


def wrong_link(page: Path, link: str, pages: dict[Path, Read]) -> str:
    """Say what is wrong with a link; nothing, if it is right."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        fine = (parts.scheme == "https" and "." in parts.netloc) or parts.scheme == "mailto"
        return "" if fine else "no address that one may follow"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return "leads nowhere"
    anchor = unquote(parts.fragment)
    if not anchor or anchor.startswith("__") or target not in pages:
        return ""
    return "" if anchor in pages[target].anchors else "no such anchor"


def wrong_source(page: Path, link: str) -> str:
    """Say what is wrong with what a browser fetches; nothing, if it is right."""
    parts = urlsplit(link)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        return "fetched from elsewhere"
    return "" if (page.parent / unquote(parts.path)).resolve().is_file() else "is not there"


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    wrong = problems(site)
    print("\n".join(wrong) or f"{len(list(site.rglob('*.html')))} pages: every link leads somewhere")
    sys.exit(bool(wrong))
