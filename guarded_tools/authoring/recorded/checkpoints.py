"""LangGraph's checkpoints as calls: what a model asked for, in which thread, and what it was told came of it.

Nobody else keeps the arguments of every call, and whoever runs agents with a checkpointer has them already. Threads are
read one by one, by the savers' own ``list``, on a connection that may not write. A value that is no message, or of a
kind that LangGraph itself does not trust, is not made: what is read here was written by models, and perhaps by others.

A call is a tool call in a message of the model. Its time is that of the first checkpoint that holds the message; what
became of it tells the answer with its id. A message that several graphs of a thread share is one message.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from guarded_tools.authoring.recorded.shelf import RecordedCall
from guarded_tools.errors import GuardError, not_installed
from guarded_tools.text.visible import one_line

_THREADS = "SELECT DISTINCT thread_id FROM checkpoints ORDER BY thread_id"


def read_checkpoints(url: str) -> Iterator[RecordedCall]:
    """Yield the calls of all threads: ``sqlite:///path`` or ``postgresql://…``.

    Raises:
        GuardError: they cannot be read, or what reads them is not installed.
    """
    with _opened(url) as (saver, threads):
        for thread in threads:
            try:
                yield from _calls(thread, saver)
            except (NotImplementedError, LookupError, TypeError, ValueError, AttributeError) as error:
                said = f"the checkpoints of the thread {one_line(thread)} cannot be read: {error}"
                raise GuardError(said) from None


@contextmanager
def _opened(url: str) -> Iterator[tuple[Any, list[str]]]:
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        kind = _sqlite
    elif scheme in {"postgresql", "postgres"}:
        kind = _postgres
    else:
        raise GuardError("checkpoints are at sqlite:///path or postgresql://…")
    try:
        with kind(url) as opened:
            yield opened
    except ImportError as error:
        raise not_installed(f"{error.name} is not installed", "checkpoints") from None


@contextmanager
def _sqlite(url: str) -> Iterator[tuple[Any, list[str]]]:
    from langgraph.checkpoint.sqlite import SqliteSaver

    said = unquote(url.removeprefix("sqlite:").partition("?")[0]).lstrip("/")
    # Absolute, as other URLs say it; or from here, as SQLAlchemy's do with three slashes.
    path = next((path for path in (Path("/", said), Path(said)) if path.is_file()), Path("/", said))
    try:
        if not path.is_file():
            raise GuardError(f"there are no checkpoints at {path}")
        # Two URLs of one form: this one is SQLite's own, and keeps it from writing.
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as base:
            threads = [str(row[0]) for row in base.execute(_THREADS)]
            saver = SqliteSaver(base, serde=_serde())
            saver.is_setup = True  # it would make its tables
            yield saver, threads
    except sqlite3.Error as error:
        raise GuardError(f"{path} cannot be read as checkpoints: {error}") from None


@contextmanager
def _postgres(url: str) -> Iterator[tuple[Any, list[str]]]:
    import psycopg
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row

    options = "-c default_transaction_read_only=on"
    try:
        with psycopg.connect(url, autocommit=True, row_factory=dict_row, options=options) as base:
            threads = [str(row["thread_id"]) for row in base.execute(_THREADS)]
            yield PostgresSaver(base, serde=_serde()), threads
    except psycopg.Error as error:
        where = urlsplit(url)
        raise GuardError(f"the checkpoints at {where.hostname}{where.path} cannot be read: {error}") from None


def _serde() -> Any:
    """What makes values of bytes: the savers' own, of trusted kinds alone."""
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    return JsonPlusSerializer(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)


def _calls(thread: str, saver: Any) -> Iterator[RecordedCall]:
    """The calls of one thread, in the order of time; the newest checkpoint comes first."""
    from langchain_core.messages import AIMessage, ToolMessage

    made: dict[tuple[str, str, str], RecordedCall] = {}
    answers: dict[str, ToolMessage] = {}
    for found in saver.list({"configurable": {"thread_id": thread}}):
        moment = _moment(found.checkpoint.get("ts"))
        namespace = str(found.config["configurable"].get("checkpoint_ns", ""))
        for message in _messages(found.checkpoint.get("channel_values")):
            if isinstance(message, ToolMessage):
                answers.setdefault(message.tool_call_id, message)
            elif isinstance(message, AIMessage):
                for place, call in enumerate(message.tool_calls):
                    key = (message.id or namespace, call["id"] or str(place), call["name"])
                    args = call["args"] if _is_json(call["args"]) else None
                    made[key] = RecordedCall(call["name"], args, moment, thread, id=call["id"])
    for one in sorted(made.values(), key=lambda each: each.time or 0.0):
        yield _with_outcome(one, answers.get(one.id or ""))


def _messages(values: object) -> Iterator[Any]:
    for value in values.values() if isinstance(values, dict) else ():
        if isinstance(value, list):
            yield from value
        else:
            yield value


def _with_outcome(call: RecordedCall, answer: Any) -> RecordedCall:
    """Say what became of a call: what the model was told of it."""
    if answer is None:
        return call._replace(untold=True)
    artifact = answer.artifact
    if isinstance(artifact, dict) and {"denied", "outcome", "rule"} <= artifact.keys():
        outcome, rule, reason = (str(artifact.get(name) or "") for name in ("outcome", "rule", "reason"))
        return call._replace(outcome=outcome, rule=rule, message=reason)
    return call._replace(outcome="error" if answer.status == "error" else "ok")


def _is_json(args: object) -> bool:
    try:
        return bool(json.loads(json.dumps(args, allow_nan=False)) == args)
    except (ValueError, TypeError, RecursionError):
        return False


def _moment(said: object) -> float | None:
    try:
        return datetime.fromisoformat(str(said)).timestamp()
    except ValueError:
        return None
