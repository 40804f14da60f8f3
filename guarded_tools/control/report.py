"""What is so and what happened, as one page that needs nothing else.

No script, no link, no font or picture from elsewhere: the page's own policy forbids them, should a text ever come
through as more than text. Texts are escaped where tables and charts are laid out, and in :func:`_escape` here.
"""

from __future__ import annotations

from guarded_tools.audit.shown import refusals_table
from guarded_tools.control.present import Past, Present
from guarded_tools.control.shown import tables
from guarded_tools.text.charts import stacked, to_svg
from guarded_tools.text.tables import Table, escaped, to_html
from guarded_tools.text.units import date_and_time, window

_MOST_KINDS = 50
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em}
h1{font-size:1.4em}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #8884}
figcaption,.quiet{opacity:.75}
section>div{overflow-x:auto}
"""


def page(present: Present, past: Past, where: str, since: str) -> str:
    """Write the page. ``where`` names the state, ``since`` says from when on ``past`` tells."""
    total = past.outcomes.total()
    counts = ", ".join(f"{number:,} {outcome}" for outcome, number in past.outcomes.most_common())
    told = f"{total:,} calls since {since}: {counts}" if total else f"No call since {since}"
    parts = [f"<p>{escaped(told)}.</p>"]
    if past.timeline is not None:
        start, width, stretches = past.timeline
        parts.append(to_svg(stacked(
            f"Calls in {window(width)}", stretches, lambda at: date_and_time(start + at * width)
        )))  # fmt: skip
    kinds = Table((), (), "Nobody was refused anything")
    if past.refusals:
        shown, more = past.refusals[:_MOST_KINDS], len(past.refusals) - _MOST_KINDS
        kinds = refusals_table("Who was refused what, and why", shown, date_and_time, narrow=False)
        kinds = kinds._replace(note=f"and {more:,} more kinds, each as frequent or less" if more > 0 else "")
    parts.append(to_html(kinds))
    moment = f"{date_and_time(present.at)} UTC"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>guarded_tools, {moment}</title><style>{_STYLE}</style></head><body>"
        f'<h1>What the guard sees</h1><p class="quiet">{escaped(where)}, {moment}</p>'
        f"<section><h2>Now</h2>{''.join(map(to_html, tables(present)))}</section>"
        f"<section><h2>Since {escaped(since)}</h2>{''.join(parts)}</section></body></html>\n"
    )
