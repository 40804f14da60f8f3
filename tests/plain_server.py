"""An MCP server of plain JSON, for tests whose server does what no SDK lets it do: it needs none, and starts at once.

It speaks revision 2025-11-25 and no other, one message after the other, over stdio or over HTTP.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "2025-11-25"
NO_SUCH_METHOD = -32601
Message = dict[str, Any]


def text(value: str) -> list[Message]:
    """The content of a result that says ``value``."""
    return [{"type": "text", "text": value}]


class PlainServer:
    """Lists what ``tools`` says and answers a call with the result, or the content, that ``call`` gives for it.

    ``call`` is handed the tool's name, its arguments and what sends a notification before the answer.
    """

    def __init__(
        self,
        name: str,
        tools: Callable[[], list[Message]],
        call: Callable[[str, Message, Callable[[str], None]], Message | list[Message]],
    ) -> None:
        self.name = name
        self.tools = tools
        self.call = call

    def answers(self, message: Message) -> list[Message]:
        """What is sent when ``message`` came: notifications, and the answer at the end if it was a request."""
        if "id" not in message or "method" not in message:
            return []
        sent: list[Message] = []
        base = {"jsonrpc": "2.0", "id": message["id"]}
        result = self._result(message["method"], message.get("params") or {}, sent)
        if result is None:
            return [{**base, "error": {"code": NO_SUCH_METHOD, "message": "Method not found"}}]
        return [*sent, {**base, "result": result}]

    def _result(self, method: str, params: Message, sent: list[Message]) -> Message | None:
        def notify(what: str) -> None:
            sent.append({"jsonrpc": "2.0", "method": f"notifications/{what}"})

        if method == "initialize":
            capabilities = {"tools": {"listChanged": True}}
            who = {"name": self.name, "version": "1.0"}
            return {"protocolVersion": REVISION, "capabilities": capabilities, "serverInfo": who}
        if method == "tools/list":
            return {"tools": self.tools()}
        if method == "tools/call":
            given = self.call(params["name"], params.get("arguments") or {}, notify)
            return {"content": given, "isError": False} if isinstance(given, list) else given
        return {} if method == "ping" else None

    def serve_stdio(self) -> None:
        """Serve until stdin ends."""
        for line in sys.stdin.buffer:
            for answer in self.answers(json.loads(line)):
                sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
                sys.stdout.buffer.flush()

    def serve_http(self) -> None:
        """Serve on a free port until the process is ended; the address is the first line on stdout."""
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                events = [f"event: message\ndata: {json.dumps(answer)}\n\n" for answer in answers(message)]
                self.reply(200 if events else 202, "".join(events).encode())

            def do_GET(self) -> None:
                self.reply(405)

            do_DELETE = do_GET  # noqa: N815 - as http.server calls it

            def reply(self, status: int, body: bytes = b"") -> None:
                self.send_response(status)
                if body:
                    self.send_header("content-type", "text/event-stream")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        print(f"http://127.0.0.1:{server.server_port}/mcp", flush=True)
        server.serve_forever()
