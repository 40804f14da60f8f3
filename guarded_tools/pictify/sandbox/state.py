"""What all parts of a sandbox account share: time, ids, templates and the quota of renders."""

from __future__ import annotations

from collections.abc import Callable

from guarded_tools.pictify.sandbox.answers import Refused, Row
from guarded_tools.text.units import utc

RENDERS_PER_MONTH = 10_000


class AccountState:
    """The state below an account's tools. ``clock`` is in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.templates: dict[str, Row] = {}
        self.renders = 0
        self._ids: dict[str, int] = {}

    def new_id(self, prefix: str) -> str:
        """The next id: ids count up, so that a script knows them beforehand."""
        self._ids[prefix] = self._ids.get(prefix, 0) + 1
        return f"{prefix}_{self._ids[prefix]:06d}"

    def now(self) -> str:
        """The time as the server writes it."""
        return utc(self.clock()).isoformat(timespec="seconds")

    def template(self, template_id: str) -> Row:
        """Look a template up, or refuse with a 404."""
        if template_id not in self.templates:
            raise Refused(404, "Not Found", f"There is no template {template_id}.")
        return self.templates[template_id]

    def quota(self) -> Row:
        """The renders of this month."""
        return {"rendersUsed": self.renders, "rendersPerMonth": RENDERS_PER_MONTH}
