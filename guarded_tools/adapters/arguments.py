"""Arguments, as a snapshot that nobody else holds and as the JSON that is judged.

They are made ready twice, for two reasons. :func:`capture` is the adapters': it copies whatever objects a body will
receive, so that they cannot change any more, and says how they look as JSON, with nothing left out. ``freeze`` is the
pipeline's, which takes calls from anybody: it lets only plain JSON pass, and holds the only copy of it. What a policy
judges and a human sees is the frozen one; what runs is the captured one whose view it is.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import AnyUrl, BaseModel, MongoDsn, NatsDsn, PostgresDsn, Secret, SecretBytes, SecretStr
from pydantic_core import MultiHostUrl, PydanticSerializationError, Url, to_jsonable_python

from guarded_tools.text.redaction import mask
from guarded_tools.text.visible import one_line

_ATOMS = frozenset({str, int, float, bool, type(None)})
# What a serializer writes whole. Of anything else it may leave something out, so nobody else's word is taken.
_WRITTEN_WHOLE = (
    str,
    int,
    float,
    complex,
    bytes,
    bytearray,
    dt.date,
    dt.time,
    dt.timedelta,
    re.Pattern,
    UUID,
    PurePath,
    Url,
    MultiHostUrl,
    AnyUrl,
    MongoDsn,
    NatsDsn,
    PostgresDsn,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)
# An exponent costs nine characters to write and a lifetime to write out.
_DIGITS = 400
_MOST_TOLD = 500
"""As many characters of what a value's own code raised are told to a model."""


class CapturedArguments(NamedTuple):
    """Arguments as they are judged, and the copy of them that the body receives.

    ``fault`` says why they cannot be judged; there is no copy then, and the call must not run.
    """

    view: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    fault: str = ""


def capture(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    named: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]],
) -> CapturedArguments:
    """Copy arguments for a body, and say how they are judged; ``named`` gives each its name, or raises an exception."""
    try:
        odd: list[type] = []
        copied = tuple(snapshot(value, odd) for value in args)
        copied_by_name = snapshot(kwargs, odd)
        by_name = named(copied, copied_by_name)
        view: dict[str, Any] = json_view(by_name) if odd else by_name  # the guard makes a copy of its own
    except Exception as error:  # noqa: BLE001 - copying runs code of the values
        return CapturedArguments(dict.fromkeys(kwargs), (), {}, f"the arguments cannot be judged: {_why(error)}")
    return CapturedArguments(view, copied, copied_by_name)


def _why(error: Exception) -> str:
    try:
        return mask(one_line(f"{type(error).__name__}: {error}"))[:_MOST_TOLD]
    except Exception:  # noqa: BLE001 - a value's own exception, with code of its own
        return type(error).__name__


def snapshot(value: Any, odd: list[type]) -> Any:
    """Return a deep copy, so that what was judged cannot change before it runs.

    ``odd`` gets the types that are not JSON's own; while it stays empty, the copy is its own JSON view.

    Raises:
        Exception: whatever the value raises when it is copied.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    # JSON's own containers hold what models send; everything else takes the slower general road.
    if kind is dict:
        odd.extend(type(key) for key in value if type(key) is not str)
        return {key: snapshot(item, odd) for key, item in value.items()}
    if kind is list:
        return [snapshot(item, odd) for item in value]
    odd.append(kind)
    return copy.deepcopy(value)


def json_view(value: Any) -> Any:
    """Return ``value`` as JSON without leaving anything out: what a serializer would hide is shown.

    What JSON cannot hold is handed on as it is; the guard refuses whatever is not JSON, and names it.

    Raises:
        ValueError: two values would stand in one place.
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, Mapping):
        return _view_mapping(value)
    if isinstance(value, AbstractSet):
        # Sets have no order of their own: without one, the same set would have many digests.
        return sorted((json_view(item) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        return [json_view(item) for item in value]
    fields = _fields(value)
    return _view_leaf(value) if fields is None else _view_mapping(fields)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return what a model or a dataclass holds, whatever its serializer would make of it."""
    if isinstance(value, BaseModel):
        held, extra = value.__dict__, value.__pydantic_extra__ or {}
        if not held.keys().isdisjoint(extra):
            raise ValueError("a field, given by its alias, and an extra argument go by one name")
        return {**held, **extra}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        declared = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {**getattr(value, "__dict__", {}), **declared}
    if hasattr(value, "__fields_set__"):  # a model of pydantic's first version
        return dict(value.__dict__)
    return None


def _view_mapping(value: Mapping[Any, Any]) -> Any:
    view = {_view_key(key): json_view(item) for key, item in value.items()}
    # Two keys with one spelling would be judged as one and executed as two.
    return view if len(view) == len(value) else value


def _view_key(key: Any) -> Any:
    if type(key) is str:
        return key
    view = _view_leaf(key)
    return to_jsonable_python({view: None}).popitem()[0] if type(view) in _ATOMS else key


def _view_leaf(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return json_view(value.value)
    if isinstance(value, Secret | SecretStr | SecretBytes):
        return json_view(value.get_secret_value())
    if isinstance(value, Decimal):
        return _view_decimal(value)
    if value is not None and not isinstance(value, _WRITTEN_WHOLE):
        return value
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, UnicodeDecodeError, ValueError):
        return value


def _view_decimal(value: Decimal) -> Any:
    """Return the JSON number that is exactly ``value``; as text it would escape every comparison with a number."""
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS:
        return value
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else value
