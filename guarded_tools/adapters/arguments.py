"""Arguments, as a snapshot that nobody else holds and as the JSON that is judged."""

from __future__ import annotations

import copy
import dataclasses
import enum
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError, to_jsonable_python

_ATOMS = frozenset({str, int, float, bool, type(None)})


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
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, Mapping):
        return _view_mapping(value)
    if isinstance(value, list | tuple):
        return [json_view(item) for item in value]
    if isinstance(value, set | frozenset):
        # Sets have no order of their own: without one, the same set would have many digests.
        return sorted((json_view(item) for item in value), key=repr)
    fields = _fields(value)
    return _view_leaf(value) if fields is None else _view_mapping(fields)


def _fields(value: Any) -> Mapping[str, Any] | None:
    """Return what a model or a dataclass holds, whatever its serializer would make of it."""
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "__fields_set__"):  # a model of pydantic's first version
        return dict(value.__dict__)
    return None


def _view_mapping(value: Mapping[Any, Any]) -> Any:
    view = {_view_key(key): json_view(item) for key, item in value.items()}
    # Two keys with one spelling would be judged as one and executed as two.
    return view if len(view) == len(value) else value


def _view_key(key: Any) -> Any:
    return key if type(key) is str else to_jsonable_python({key: None}).popitem()[0]


def _view_leaf(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return json_view(value.value)
    if isinstance(value, SecretStr | SecretBytes):
        return json_view(value.get_secret_value())
    if isinstance(value, Decimal):
        return _view_decimal(value)
    if hasattr(value, "__next__"):
        return value  # looking into an iterator would use it up
    try:
        return to_jsonable_python(value)
    except (PydanticSerializationError, UnicodeDecodeError, ValueError):
        return value


def _view_decimal(value: Decimal) -> Any:
    """Return the JSON number that is exactly ``value``; as text it would escape every comparison with a number."""
    if not value.is_finite():
        return value
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else value
