"""A Pictify account that lives in memory and keeps the rules the real one keeps.

:meth:`Account.answer` takes a tool's name and schema-valid arguments, defaults filled in, and gives the text the real
server would: JSON from what reads, a few lines of prose from what writes. What upstream would refuse raises
:class:`~guarded_tools.pictify.sandbox.answers.Refused`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from guarded_tools.pictify.sandbox.answers import Args, Refused, Row, as_json, page_of
from guarded_tools.pictify.sandbox.experiments import Experiments
from guarded_tools.pictify.sandbox.state import RENDERS_PER_MONTH, AccountState

MEDIA = "https://media.sandbox.invalid"
PDF_PRESETS = {"A4": (794, 1123), "A5": (559, 794), "Letter": (816, 1056), "Legal": (816, 1344)}
SECONDS_PER_BATCH_ITEM = 0.2


class Account(AccountState):
    """Templates, assets, batches and experiments of one customer. ``clock`` is in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self.assets: dict[str, Row] = {}
        self._batches: dict[str, Row] = {}
        experiments = Experiments(self)
        self._tools: dict[str, Callable[[Args], str]] = {
            f"pictify_{name}": handler
            for name, handler in {
                "create_image": self._create_image,
                "create_canvas_image": lambda args: self._render("img", args, kind="image", source="canvas"),
                "list_images": lambda args: self._list_assets("image", args),
                "get_image": lambda args: self._get_asset("image", args["imageId"]),
                "create_gif": self._create_gif,
                "capture_gif": lambda args: self._render("gif", args, kind="gif", source=args["url"]),
                "list_gifs": lambda args: self._list_assets("gif", args),
                "get_gif": lambda args: self._get_asset("gif", args["gifId"]),
                "render_pdf": lambda args: self._render_pdf(args, pages=1),
                "render_multi_page_pdf": lambda args: self._render_pdf(args, pages=len(args["variableSets"])),
                "list_pdf_presets": self._list_pdf_presets,
                "list_templates": self._list_templates,
                "get_template": lambda args: as_json(self.template(args["templateId"])),
                "get_template_variables": self._get_template_variables,
                "render_template": self._render_template,
                "create_template": self._create_template,
                "update_template": self._update_template,
                "delete_template": self._delete_template,
                "batch_render": self._batch_render,
                "get_batch_results": lambda args: as_json(self._batch(args["batchId"])),
                "cancel_batch": self._cancel_batch,
                **experiments.tools(),
            }.items()
        }
        self._furnish()

    def answer(self, tool: str, args: Args) -> str:
        """Do what ``tool`` does and say so.

        Raises:
            Refused: upstream would answer an error.
        """
        return self._tools[tool](args)

    def _furnish(self) -> None:
        for name, width, height, output in (
            ("Welcome banner", 1200, 630, "image"),
            ("Product card", 800, 800, "image"),
            ("Invoice", 794, 1123, "pdf"),
        ):
            self._create_template(
                {
                    "name": name,
                    "html": "<h1>{{headline}}</h1>",
                    "width": width,
                    "height": height,
                    "outputFormat": output,
                    "variableDefinitions": [{"name": "headline", "type": "text", "defaultValue": name}],
                }
            )
        self._create_image({"template": "tpl_000001", "width": 1200, "height": 630, "fileExtension": "png"})

    def _spend(self, renders: int) -> None:
        if self.renders + renders > RENDERS_PER_MONTH:
            left = RENDERS_PER_MONTH - self.renders
            raise Refused(402, "Quota exceeded", f"{renders} renders were asked for and {left} are left this month.")
        self.renders += renders

    def _render(self, prefix: str, args: Args, *, kind: str, source: str, renders: int = 1) -> str:
        self._spend(renders)
        asset_id = self.new_id(prefix)
        extension = {"gif": "gif", "pdf": "pdf"}.get(kind) or args.get("fileExtension") or args.get("format", "png")
        asset = {
            "id": asset_id,
            "kind": kind,
            "url": f"{MEDIA}/{asset_id}.{extension}",
            "width": args.get("width", 1200),
            "height": args.get("height", 630),
            "source": source,
            "createdAt": self.now(),
        }
        self.assets[asset_id] = asset
        pages = f"\nPages: {renders}" if kind == "pdf" else ""
        return f"{kind.upper() if kind != 'image' else 'Image'} created.\nID: {asset_id}\nURL: {asset['url']}{pages}"

    def _one_source(self, args: Args) -> str:
        given = [name for name in ("html", "url", "template") if args.get(name) is not None]
        if len(given) != 1:
            given_are = f"{', '.join(given)} were given" if given else "none was given"
            raise Refused(400, "Bad Request", f"Exactly one of html, url and template is needed; {given_are}.")
        if given == ["template"]:
            self.template(args["template"])
            return str(args["template"])
        return str(args["url"]) if given == ["url"] else "html"

    def _create_image(self, args: Args) -> str:
        return self._render("img", args, kind="image", source=self._one_source(args))

    def _create_gif(self, args: Args) -> str:
        return self._render("gif", args, kind="gif", source=self._one_source(args))

    def _render_pdf(self, args: Args, pages: int) -> str:
        self.template(args["templateId"])
        preset = args.get("preset", "A4")
        if preset not in PDF_PRESETS:
            raise Refused(400, "Bad Request", f"There is no preset {preset}; there are {', '.join(PDF_PRESETS)}.")
        width, height = PDF_PRESETS[preset]
        size = {"width": width, "height": height}
        return self._render("pdf", size, kind="pdf", source=args["templateId"], renders=pages)

    def _render_template(self, args: Args) -> str:
        self.template(args["templateId"])
        layouts = args.get("layouts") or [args.get("layout", "default")]
        kind = "pdf" if args["format"] == "pdf" else "image"
        return "\n".join(self._render("img", args, kind=kind, source=args["templateId"]) for _ in layouts)

    def _list_pdf_presets(self, args: Args) -> str:
        del args
        return as_json({"presets": [{"name": n, "width": w, "height": h} for n, (w, h) in PDF_PRESETS.items()]})

    def _list_assets(self, kind: str, args: Args) -> str:
        rows = [asset for asset in reversed(self.assets.values()) if asset["kind"] == kind]
        start = int(args["offset"])
        page = rows[start : start + int(args["limit"])]
        return as_json({f"{kind}s": page, "total": len(rows), "limit": args["limit"], "offset": args["offset"]})

    def _get_asset(self, kind: str, asset_id: str) -> str:
        asset = self.assets.get(asset_id)
        if asset is None or asset["kind"] != kind:
            raise Refused(404, "Not Found", f"There is no {kind} {asset_id}.")
        return as_json(asset)

    def _list_templates(self, args: Args) -> str:
        wanted = args["outputFormat"]
        rows = [t for t in self.templates.values() if wanted in ("all", t["outputFormat"])]
        if args["sort"] == "name":
            rows.sort(key=lambda row: str(row["name"]).casefold())
        elif args["sort"] == "newest":
            rows.reverse()
        brief = [{key: row[key] for key in ("id", "name", "outputFormat", "width", "height")} for row in rows]
        return as_json({"templates": page_of(brief, args), "total": len(brief), "page": args["page"]})

    def _get_template_variables(self, args: Args) -> str:
        row = self.template(args["templateId"])
        return as_json({"templateId": row["id"], "variables": row["variableDefinitions"]})

    def _create_template(self, args: Args) -> str:
        row = {
            "width": 1200,
            "height": 630,
            "outputFormat": "image",
            "variableDefinitions": [],
            **args,
            "id": self.new_id("tpl"),
            "createdAt": self.now(),
        }
        self.templates[row["id"]] = row
        return f"Template created.\nID: {row['id']}\nName: {row['name']}"

    def _update_template(self, args: Args) -> str:
        row = self.template(args["templateId"])
        changes = {key: value for key, value in args.items() if key != "templateId"}
        row.update(changes)
        return f"Template {row['id']} updated: {', '.join(sorted(changes)) or 'nothing changed'}."

    def _delete_template(self, args: Args) -> str:
        row = self.template(args["templateId"])
        for batch_id in list(self._batches):
            self._batch(batch_id)  # what was rendered before the template went away stays rendered
        del self.templates[row["id"]]
        return f"Template {row['id']} deleted. This cannot be undone."

    def _batch_render(self, args: Args) -> str:
        self.template(args["templateId"])
        total = len(args["variableSets"])
        self._spend(total)
        batch_id = self.new_id("bat")
        self._batches[batch_id] = {
            "id": batch_id,
            "templateId": args["templateId"],
            "status": "pending",
            "total": total,
            "done": 0,
            "failed": 0,
            "urls": [],
            "startedAt": self.clock(),
            "perSecond": int(args["concurrency"]) / SECONDS_PER_BATCH_ITEM,
            "format": args["format"],
        }
        return f"Batch started.\nID: {batch_id}\nItems: {total}\nStatus: pending"

    def _batch(self, batch_id: str) -> Row:
        """The batch as it stands now: time passes for it only when somebody looks."""
        row = self._batches.get(batch_id)
        if row is None:
            raise Refused(404, "Not Found", f"There is no batch {batch_id}.")
        if row["status"] in ("pending", "processing"):
            due = min(row["total"], int((self.clock() - row["startedAt"]) * row["perSecond"]))
            if row["templateId"] in self.templates:
                row["done"] = max(due, row["done"])
                row["status"] = "completed" if due == row["total"] else "processing" if due else "pending"
            else:
                row["failed"] = row["total"] - row["done"]
                row["status"] = "partial" if row["done"] else "failed"
            row["urls"] = [f"{MEDIA}/{batch_id}/{n}.{row['format']}" for n in range(row["done"])]
        return {key: value for key, value in row.items() if key not in ("startedAt", "perSecond", "format")}

    def _cancel_batch(self, args: Args) -> str:
        seen = self._batch(args["batchId"])
        if seen["status"] not in ("pending", "processing"):
            raise Refused(409, "Conflict", f"Batch {seen['id']} is {seen['status']} and cannot be cancelled.")
        self._batches[seen["id"]]["status"] = "cancelled"
        return f"Batch {seen['id']} cancelled.\nFinished items kept: {seen['done']} of {seen['total']}"
