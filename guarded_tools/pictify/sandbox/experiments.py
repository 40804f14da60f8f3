"""The experiments of a sandbox account: a state machine with a public address.

draft or paused -> running -> paused; running or paused -> completed, which is final. Anything else is a conflict.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from guarded_tools.pictify.sandbox.answers import Args, Refused, RefusedHere, Row, as_json, page_of
from guarded_tools.pictify.sandbox.state import AccountState

EXPERIMENTS_IN_PLAN = 100
REQUESTS_PER_MINUTE = 1000
FULL_WEIGHT = 10_000
RESERVED_SLUGS = frozenset({"events", "api", "admin", "health", "status", "pixel", "track", "sdk"})
SLUG = re.compile(r"[a-z0-9-]{3,60}")
CHANGEABLE = {
    "running": frozenset({"name", "confidenceThreshold", "minimumRunDays", "goalConfig"}),
    "completed": frozenset({"name"}),
}


class Experiments:
    """The ten experiment tools over one account."""

    def __init__(self, account: AccountState) -> None:
        self._account = account
        self._rows: dict[str, Row] = {}
        self._requests: deque[float] = deque()

    def tools(self) -> dict[str, Callable[[Args], str]]:
        """What answers each tool, by its name without the prefix."""
        return {
            "list_experiments": self._list,
            "create_experiment": self._create,
            "get_experiment": lambda args: as_json(self._get(args)),
            "get_experiment_quota": self._quota,
            "update_experiment": self._update,
            "delete_experiment": self._delete,
            "start_experiment": self._start,
            "pause_experiment": self._pause,
            "complete_experiment": self._complete,
            "track_experiment_events": self._track,
        }

    def _get(self, args: Args) -> Row:
        row = self._rows.get(args["experimentId"])
        if row is None:
            raise Refused(404, "Not Found", f"There is no experiment {args['experimentId']}.")
        return row

    def _list(self, args: Args) -> str:
        rows = [
            {key: row[key] for key in ("id", "name", "type", "slug", "status")}
            for row in reversed(self._rows.values())
            if all(args.get(key) in (None, row[key]) for key in ("type", "status"))
        ]
        return as_json({"experiments": page_of(rows, args), "total": len(rows), "page": args["page"]})

    def _quota(self, args: Args) -> str:
        del args
        return as_json({"experiments": len(self._rows), "limit": EXPERIMENTS_IN_PLAN, **self._account.quota()})

    def _create(self, args: Args) -> str:
        if args["slug"] in RESERVED_SLUGS:
            raise RefusedHere(f"The slug {args['slug']} is reserved.")
        _check_weights(args)
        if len(self._rows) >= EXPERIMENTS_IN_PLAN:
            raise Refused(402, "Quota exceeded", f"The plan allows {EXPERIMENTS_IN_PLAN} experiments.")
        self._check_slug(args["slug"])
        self._check_variants(args)
        row = {
            **args,
            "id": self._account.new_id("exp"),
            "status": "draft",
            "createdAt": self._account.now(),
            "counts": {},
        }
        self._rows[row["id"]] = row
        return f"Experiment created as a draft.\nID: {row['id']}\nSlug: {row['slug']}\nStatus: draft"

    def _update(self, args: Args) -> str:
        _check_weights(args)
        row = self._get(args)
        changes = {key: value for key, value in args.items() if key != "experimentId"}
        allowed = CHANGEABLE.get(row["status"])
        refused = sorted(set(changes) - allowed) if allowed is not None else []
        goal = changes.get("goalConfig")
        if row["status"] == "running" and goal is not None:
            refused += [f"goalConfig.{key}" for key in sorted(goal) if key != "destinationUrl"]
        if refused:
            raise Refused(409, "Conflict", f"A {row['status']} experiment cannot change {', '.join(refused)}.")
        if "slug" in changes and changes["slug"] != row["slug"]:
            self._check_slug(changes["slug"])
        if "variants" in changes:
            self._check_variants({**row, **changes})
        if goal is not None:
            changes["goalConfig"] = {**row.get("goalConfig", {}), **goal}
        row.update(changes)
        return f"Experiment {row['id']} updated: {', '.join(sorted(changes)) or 'nothing changed'}."

    def _delete(self, args: Args) -> str:
        row = self._get(args)
        if row["status"] == "running":
            raise Refused(409, "Conflict", f"Experiment {row['id']} is running; pause or complete it first.")
        del self._rows[row["id"]]
        return f"Experiment {row['id']} deleted. This cannot be undone."

    def _start(self, args: Args) -> str:
        row = self._move(args, ("draft", "paused"), "running", check=self._check_templates)
        return f"Experiment {row['id']} is running.\nSlug: {row['slug']}\nStatus: running"

    def _pause(self, args: Args) -> str:
        row = self._move(args, ("running",), "paused")
        return f"Experiment {row['id']} is paused.\nStatus: paused"

    def _complete(self, args: Args) -> str:
        def has_winner(row: Row) -> None:
            if args["winnerVariantId"] not in _variant_ids(row):
                raise Refused(400, "Bad Request", f"There is no variant {args['winnerVariantId']} in {row['id']}.")

        row = self._move(args, ("running", "paused"), "completed", check=has_winner)
        row["winnerVariantId"] = args["winnerVariantId"]
        return f"Experiment {row['id']} is completed.\nWinner: {row['winnerVariantId']}\nStatus: completed"

    def _move(self, args: Args, start: tuple[str, ...], end: str, check: Callable[[Row], None] | None = None) -> Row:
        row = self._get(args)
        if row["status"] not in start:
            wanted = " or ".join(start)
            raise Refused(409, "Conflict", f"Experiment {row['id']} is {row['status']}; it would have to be {wanted}.")
        if check is not None:
            check(row)
        row["status"] = end
        return row

    def _track(self, args: Args) -> str:
        self._throttle()
        by_slug = {row["slug"]: row for row in self._rows.values()}
        errors = []
        for index, event in enumerate(args["events"]):
            row = by_slug.get(event["experiment"])
            if row is None:
                errors.append(f"events[{index}]: there is no experiment with the slug {event['experiment']}")
            elif row["status"] != "running":
                errors.append(f"events[{index}]: experiment {row['slug']} is {row['status']}, not running")
            elif event.get("variantId") not in (None, *_variant_ids(row)):
                errors.append(f"events[{index}]: experiment {row['slug']} has no variant {event['variantId']}")
            else:
                row["counts"][event["event"]] = row["counts"].get(event["event"], 0) + 1
        total = len(args["events"])
        return "\n".join([f"Processed {total - len(errors)} of {total} events.", *errors])

    def _throttle(self) -> None:
        now = self._account.clock()
        while self._requests and self._requests[0] <= now - 60:
            self._requests.popleft()
        if len(self._requests) >= REQUESTS_PER_MINUTE:
            wait = max(1, int(self._requests[0] + 60 - now) + 1)
            detail = f"At most {REQUESTS_PER_MINUTE} requests a minute."
            raise Refused(429, "Too Many Requests", detail, retry_after=wait)
        self._requests.append(now)

    def _check_slug(self, slug: str) -> None:
        if SLUG.fullmatch(slug) is None:
            raise Refused(400, "Bad Request", "A slug is 3 to 60 lowercase letters, digits and hyphens.")
        if slug in RESERVED_SLUGS:
            raise Refused(400, "Bad Request", f"The slug {slug} is reserved.")
        if any(row["slug"] == slug for row in self._rows.values()):
            raise Refused(409, "Conflict", f"The slug {slug} is taken.")

    def _check_variants(self, row: Args) -> None:
        variants = row["variants"]
        if len(set(_variant_ids(row))) != len(variants):
            raise Refused(400, "Bad Request", "The ids of the variants are not unique.")
        self._check_templates(row, status=404)

    def _check_templates(self, row: Args, status: int = 409) -> None:
        for uid in (row.get("templateUid"), *(variant.get("templateUid") for variant in row["variants"])):
            if uid is not None and uid not in self._account.templates:
                title = "Not Found" if status == 404 else "Conflict"  # noqa: PLR2004 - an HTTP status
                raise Refused(status, title, f"There is no template {uid}.")


def _check_weights(args: Args) -> None:
    variants = args.get("variants")
    total = FULL_WEIGHT if variants is None else sum(variant["weight"] for variant in variants)
    if total != FULL_WEIGHT:
        raise RefusedHere(f"The weights add up to {total}; they have to make {FULL_WEIGHT}.")


def _variant_ids(row: Args) -> list[str]:
    return [variant["id"] for variant in row["variants"]]
