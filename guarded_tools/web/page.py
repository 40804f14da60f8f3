"""How a page is written: by templates that escape whatever they are given, and show what is invisible in it.

Every value that a template writes passes :func:`shown` first, and the engine's escaping after that. So no page has to
remember either: text of models, servers and people comes out as text, with the rules of the card. Names that may read
as others are written by the macro ``name``, which says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from guarded_tools.text.lookalikes import remarks
from guarded_tools.text.quantities import of_most, spoken
from guarded_tools.text.redaction import mask
from guarded_tools.text.tables import Cell, Content
from guarded_tools.text.tones import fullness, look, share
from guarded_tools.text.units import clock, date_and_time, remaining, window
from guarded_tools.text.visible import plain, visible
from guarded_tools.web.assets import asset, assets

FOLDER: Final = Path(__file__).parent
_LONGEST_NAME: Final = 200


class Exact(str):
    """A value that is sent back as it is, in a form; no reader is shown it, so nothing in it is made visible."""

    __slots__ = ()


def shown(value: Any) -> Any:
    """Make visible whatever is hidden in a text, line by line; markup of our own templates stays."""
    if not isinstance(value, str) or isinstance(value, Exact) or hasattr(value, "__html__"):
        return value
    return "\n".join(visible(line) for line in value.split("\n"))


def name(text: object) -> str:
    """Write a name that others chose on one line, cut where it is long, without secrets."""
    return plain(mask(str(text)), _LONGEST_NAME)


def moment(seconds: float) -> str:
    """Write a moment in UTC; what is beyond the calendar is said to be that."""
    try:
        return date_and_time(seconds)
    except (ValueError, OverflowError, OSError):
        return "at no time"


def sent(value: object) -> str:
    """Write a value for an address or a form so that the very same comes back: as JSON in ASCII."""
    return Exact(json.dumps(value))


def address(path: str, **fields: object) -> str:
    """Write an address of ours with fields, each as :func:`sent` writes it; what is ``None`` is left out."""
    return Exact(f"{path}?{urlencode({key: json.dumps(one) for key, one in fields.items() if one is not None})}")


def came(text: str) -> Any:
    """Read what :func:`sent` wrote; ``None`` where it is something else."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def exact(text: str) -> Exact:
    """Write what somebody typed back into the box that they typed it in."""
    return Exact(text.encode("utf-8", "replace").decode())


def cells(content: Content) -> list[Cell]:
    """Return a table's content as its pieces."""
    return content if isinstance(content, list) else [Cell(content) if isinstance(content, str) else content]


_engine = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=shown,
    auto_reload=False,  # no look at a disk while a page is written
    trim_blocks=True,
    lstrip_blocks=True,
)
_engine.filters.update(
    exact=exact,
    name=name,
    remarks=remarks,
    moment=moment,
    sent=sent,
    remaining=remaining,
    window=window,
    mask=mask,
    spoken=spoken,
)
_engine.globals.update(
    address=address, asset=asset, cells=cells, clock=clock, fullness=fullness, look=look, now=time.time,
    of_most=of_most, share=share,
)  # fmt: skip


def prepare() -> None:
    """Read all templates and assets now."""
    assets()
    for template in _engine.list_templates():
        _engine.get_template(template)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Write a template with values."""
    return _engine.get_template(template).render(values)


def part(macro: str, *values: object) -> Markup:
    """Write one part of a page, by the macro that makes it, to be put into a page as it is."""
    written: Markup = getattr(_engine.get_template("parts.html").module, macro)(*values)
    return written


def page(request: Request, template: str, status: int = HTTPStatus.OK, **values: Any) -> HTMLResponse:
    """Answer with a page; its frame is told who is in, and what may be pressed."""
    frame = request.app.state.frame(request)
    return HTMLResponse(render(template, {**frame, **values}), status)


def shared_page(request: Request, template: str, values: Callable[[], dict[str, Any]]) -> HTMLResponse:
    """Answer with a page in which no form is anybody's own; what is live is written once for all who look."""
    if "hx-request" not in request.headers:
        return page(request, template, layout="frame.html", **values())
    state, here = request.app.state, own_address(request)

    def write(version: int) -> str:
        known = {"layout": "part.html", "here": request.url.path, "url": here, "version": version}
        return render(template, {**known, **values()})

    return HTMLResponse(state.shared.get(here, write))


def own_address(request: Request) -> str:
    """Return what is asked for, as a page names itself."""
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path
