"""The page of what happens now: the latest calls and what became of each, and a call's whole story."""

from __future__ import annotations

import json
import time
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from guarded_tools.audit.read import FIELDS, Record, when
from guarded_tools.audit.summary import CallRow
from guarded_tools.text.tones import OUTCOMES
from guarded_tools.web.charts import chart
from guarded_tools.web.desk import Desk
from guarded_tools.web.page import came, page, shared_page
from guarded_tools.web.recent import KEPT

MOST_CALLS: Final = 60
"""Calls that the page lists."""
_FILTERS: Final = ("session", "tool", "outcome", "rule")
_CHAIN: Final = {"prev", "hash", "key"}


def show_now(request: Request) -> Response:
    """List the latest calls that pass the filter, and draw the last hour and day."""
    desk: Desk = request.app.state.desk
    wanted = {field: request.query_params.get(field, "") for field in _FILTERS}

    def values() -> dict[str, Any]:
        rows = [row for row in desk.recent.calls() if passes(row, wanted)]
        minutes, now = desk.recent.minutes(), time.time()
        charts = [
            chart("The last hour", minutes, now, bars=60, each=1),
            chart("The last day", minutes, now, bars=96, each=15),
        ]
        return {
            "rows": rows[:MOST_CALLS],
            "found": len(rows),
            "wanted": wanted,
            "kept": KEPT,
            "outcomes": [*OUTCOMES],
            "charts": charts,
            "counted_from": desk.recent.counted_from,
            "control": _control(desk),
        }

    return shared_page(request, "now.html", values)


def passes(row: CallRow, wanted: dict[str, str]) -> bool:
    """Say whether a call is wanted: by its session, its tool (``*`` and ``?`` stand for others), outcome, rule."""
    return (
        wanted["session"] in {"", row.session}
        and (not wanted["tool"] or fnmatchcase(row.tool, wanted["tool"]))
        and wanted["outcome"] in {"", row.outcome}
        and wanted["rule"] in row.rule
    )


def show_call(request: Request) -> Response:
    """Tell all that the audit says of one call, in order."""
    desk: Desk = request.app.state.desk
    key = came(request.query_params.get("key", ""))
    lines = desk.recent.story(key) if key and isinstance(key, str) else []
    status = HTTPStatus.OK if lines else HTTPStatus.NOT_FOUND
    return page(request, "call.html", status, lines=[_line(record) for record in lines])


def _line(record: Record) -> dict[str, Any]:
    fields = {
        field: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for field in FIELDS
        if field not in _CHAIN and (value := record.get(field)) is not None
    }
    return {"kind": str(record.get("kind", "")), "when": when(record), "fields": fields}


def _control(desk: Desk) -> list[dict[str, Any]]:
    """List what people did to the state, the latest first."""
    found = [record for record in desk.recent.records() if record.get("kind") == "control"]
    return [
        {"when": when(record), "rule": str(record.get("rule", "")), "message": str(record.get("message", ""))}
        for record in found[:-11:-1]
    ]
