"""An error without what is to be redacted, and of no more than so many characters.

Handlers make a message of an error's text, and programs go by its type. So what is handed on in its place is an error
of the same type, with the same members as far as they could be looked into, and with causes that were treated likewise.
Where such an error would still say too much, because its type makes its text of something else, it is withheld.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guarded_tools.pipeline.results.fitting import Fitting
from guarded_tools.pipeline.results.rewriting import Rewriting, Unseen

_MOST_CAUSES = 20
_OWN = ("__notes__",)


class Raised:
    """Treats one error and what it comes from, once."""

    def __init__(self, rewriting: Rewriting | None, fitting: Fitting | None) -> None:
        self._rewriting = rewriting
        self._fitting = fitting
        self._left = _MOST_CAUSES

    def of(self, error: BaseException) -> BaseException:
        """Return an error that says no more than is permitted; the very same where it says no more.

        Raises:
            Unseen: there is no such error of its type.
        """
        if self._rewriting is not None:
            error = self._redacted(error)
        return error if self._fitting is None else self._fitted(error, self._fitting)

    def _redacted(self, error: BaseException) -> BaseException:
        self._left -= 1
        if self._left < 0:
            raise Unseen("it has too many causes")
        assert self._rewriting is not None
        state = dict(vars(error)) | {"args": error.args} | dict(_own_members(error))
        made = {name: self._rewriting.of(value, content=name == "tool_content") for name, value in state.items()}
        inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        inner_made = tuple(self._redacted(each) for each in inner)
        cause, context = (
            None if other is None else self._redacted(other) for other in (error.__cause__, error.__context__)
        )
        changed = {name: value for name, value in made.items() if value is not state[name]}
        same = all(new is old for new, old in zip(inner_made, inner, strict=True))
        if not changed and same and cause is error.__cause__ and context is error.__context__:
            # Its type may make its text of what is no member of it.
            for said in (_text(error), repr(error)):
                if self._rewriting.of(said) is not said:
                    raise Unseen(f"a {type(error).__name__} cannot be redacted")
            return error
        new = _bare(error, made, inner_made)
        new.__cause__, new.__context__ = cause, context
        new.__suppress_context__ = error.__suppress_context__
        for said in (_text(new), repr(new)):
            if self._rewriting.of(said) is not said:
                raise Unseen(f"a {type(error).__name__} cannot be redacted")
        return new

    def _fitted(self, error: BaseException, fitting: Fitting) -> BaseException:
        blocks = getattr(error, "tool_content", None)
        notes = "\n".join(map(str, getattr(error, "__notes__", ())))
        text = _text(error)
        fitted = fitting.text(f"{text}\n{notes}" if notes else text)
        made_blocks = fitting.data(blocks) if not isinstance(blocks, list) else self._blocks(blocks, fitting)
        if not fitting.cut:
            return error
        members = {name: value for name, value in vars(error).items() if _is_small(value)}
        if blocks is not None:
            members["tool_content"] = made_blocks
        new = _bare(error, {**members, "args": (fitted,)}, ())
        new.__suppress_context__ = True
        if len(_text(new)) > len(fitted):
            raise Unseen(f"the text of a {type(error).__name__} cannot be cut")
        return new

    def _blocks(self, blocks: list[Any], fitting: Fitting) -> Any:
        """Fit the blocks that an error's text was made of, as if they were the result."""
        return fitting.again().content(blocks)


def _is_small(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _own_members(error: BaseException) -> Iterator[tuple[str, Any]]:
    """Yield the members that an error of Python's own keeps beside its arguments."""
    for name in ("strerror", "filename", "filename2", "msg", "text", "object", "reason", "name", "value", "obj"):
        held = getattr(type(error), name, None)
        if type(held).__name__ in ("member_descriptor", "getset_descriptor"):
            yield name, getattr(error, name)


def _bare(error: BaseException, members: Mapping[str, Any], inner: tuple[BaseException, ...]) -> BaseException:
    """Make an error of the same type with these members, past its constructor."""
    args = members["args"]
    try:
        kind = type(error)
        new: BaseException = (
            kind.__new__(kind, str(args[0]) if args else "", inner) if inner else kind.__new__(kind, *args)
        )
        new.args = args
        for name, value in members.items():
            if name != "args" and (value is not None or name in vars(error)):
                setattr(new, name, value)
        str(new), repr(new)
    except Exception as failed:
        raise Unseen(f"a {type(error).__name__} cannot be made anew") from failed
    return new.with_traceback(error.__traceback__)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failed:
        raise Unseen(f"a {type(error).__name__} cannot be written") from failed
