"""An MCP server that does what well-behaved ones do not. Started as a process by the tests."""

import base64
import os
import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from tests.plain_server import PlainServer, text

HABITS = set(sys.argv[1:])
NAMED = [habit.removeprefix("name=") for habit in sys.argv[1:] if habit.startswith("name=")]
EMPTY = {"type": "object", "properties": {}}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NAMES = ["echo", "show", "env", "grow", "noise", "bad_bytes", "structured", "refuse", "endless", "stderr"]

extra = []


def list_tools():
    tools = [{"name": name, "description": name, "inputSchema": EMPTY} for name in [*NAMES, *extra]]
    tools[6]["outputSchema"] = NUMBER
    tools[:0] = [{"name": name, "inputSchema": EMPTY} for name in NAMED]
    if "twins" in HABITS or ("twins later" in HABITS and extra):
        tools.append(tools[0])
    return tools


def raw(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def call_tool(name, arguments, notify):  # noqa: PLR0911 - one for each tool
    match name:
        case "echo":
            return text(repr(arguments))
        case "show":
            png = base64.b64encode(b"picture").decode()
            return [*text("see"), {"type": "image", "data": png, "mimeType": "image/png"}]
        case "env":
            return text("\n".join(sorted(os.environ)))
        case "grow":
            extra.append(f"late_{len(extra)}")
            notify("tools/list_changed")
            return text("grown")
        case "noise":
            raw(b"{this is no message\nnor is this\n\n")
            return text("quiet again")
        case "bad_bytes":
            raw(b"\xff\xfe\xff\n")
            return text("still here")
        case "endless":
            while True:
                raw(b"x" * 65_536)
        case "structured":
            return {"content": text("n"), "structuredContent": {"n": arguments.get("n", 1)}, "isError": False}
        case "refuse":
            return {"content": text("refused"), "isError": True}
        case "stderr":
            print("a line with the key", os.environ.get("SOME_API_KEY"), file=sys.stderr, flush=True)
            os._exit(3)
    return text("late")


if __name__ == "__main__":
    if "stubborn" in HABITS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for gate in [Path(habit.removeprefix("gate=")) for habit in HABITS if habit.startswith("gate=")]:
        while not gate.exists():
            time.sleep(0.01)
    server = PlainServer("odd", list_tools, call_tool)
    if "http" in HABITS:
        server.serve_http()
    else:
        server.serve_stdio()
    if "stubborn" in HABITS:
        time.sleep(600)
