"""A shop's tools, one for every kind of attack, and guards of others that make the mistakes of their kind."""

from __future__ import annotations

from guarded_tools.authoring.drill.course import Course, pinned, targets_of
from guarded_tools.authoring.drill.subjects import Foreign, GuardedPolicy
from guarded_tools.authoring.drill.values import Asking
from guarded_tools.policy import Policy
from guarded_tools.values import ToolInfo

TEXT = {"type": "string"}


def tool(name, description="", *, needed=(), open_=False, **properties):
    schema = {"type": "object", "properties": properties, "required": list(needed)}
    return ToolInfo(name, "shop", description, schema if open_ else {**schema, "additionalProperties": False})


ORDER_ID = {"type": "string", "description": "Order id"}
TOOLS = {
    info.name: info
    for info in (
        tool("list_products"),
        tool("get_order", "Read one order of a customer.", needed=["order_id"], order_id=ORDER_ID),
        tool("read_mail", "Read a mail of the user's inbox.", needed=["id"], id=TEXT),
        tool("get_customer_account", "Read the account of the current user."),
        tool("send_mail", "Send a mail.", needed=["to", "body"], to=TEXT, body=TEXT),
        tool(
            "create_refund",
            "Refund an order.",
            needed=["order_id", "amount"],
            order_id=ORDER_ID,
            amount={"type": "number"},
        ),
        tool("delete_order", "Delete an order.", needed=["order_id"], order_id=ORDER_ID),
        tool("create_note", "Create a note.", needed=["text"], text=TEXT),
        tool("fetch_page", "Fetch a page.", needed=["url"], url={"type": "string", "format": "uri"}),
        tool("fetch_any", "Fetch a page.", needed=["url"], url={"type": "string", "format": "uri"}, open_=True),
        tool("read_file", "Read a file.", needed=["path"], path=TEXT),
        tool("create_page", "Create a page.", needed=["html"], html=TEXT),
        tool(
            "import_rows",
            "Import rows.",
            needed=["rows"],
            rows={"type": "array", "items": {"type": "object", "properties": {"name": TEXT}}},
        ),
        tool("create_coupons", "Create coupons.", needed=["count"], count={"type": "integer"}),
        tool("search_orders", "Search orders.", scope={"type": "string", "description": "Defaults to all."}),
        tool("start_job", "Start a job.", needed=["order_id"], order_id=ORDER_ID),
    )
}


def course(rules, *names, lock=True, grant=True):
    """A course over some of the tools, under a policy."""
    policy = Policy.model_validate({"version": "1", "default": "allow", **rules})
    targets = targets_of([(TOOLS[name], {}) for name in names or TOOLS], policy)
    return Course(GuardedPolicy(policy, pinned(targets) if lock else None, grant), targets, policy)


def foreign(make, *names):
    """The same tools behind somebody else's guard."""
    return Course(Foreign("theirs", make), targets_of([(TOOLS[name], {}) for name in names or TOOLS], None))


def forgetful(tools):
    """Twenty calls of a tool in the life of a process."""
    counts = {}

    def call(name, args, session):
        counts[name] = counts.get(name, 0) + 1
        if counts[name] > 20:
            return "too many"
        return {tool.name: tool for tool in tools}[name].func(**args)

    return call


def easily_convinced(tools, ask):
    """Whoever was approved once may do anything."""
    approved = []

    def call(name, args, session):
        if not approved:
            if ask(Asking(name, dict(args))) == "reject":
                return "no"
            approved.append(name)
        return {tool.name: tool for tool in tools}[name].func(**args)

    return call


def careless(tools, ask):
    """Shows its own copy to nobody: what is asked about is what is run, whatever became of it meanwhile."""

    def call(name, args, session):
        shown = Asking(name, args)
        return {tool.name: tool for tool in tools}[name].func(**shown.args) if ask(shown) != "reject" else "no"

    return call


def careful(tools, ask):
    """Asks about everything, each time, and runs what it was asked."""

    def call(name, args, session):
        kept = {**args}
        return (
            {tool.name: tool for tool in tools}[name].func(**kept) if ask(Asking(name, {**args})) != "reject" else "no"
        )

    return call


def literal(tools):
    """Looks at the one argument, spelt as in the schema; the server takes it in any spelling."""

    def call(name, args, session):
        if not str(args.get("url", "")).startswith("https://example.com/"):
            return "not that address"
        return {tool.name: tool for tool in tools}[name].func(**args)

    return call
