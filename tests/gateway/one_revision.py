"""A server that knows one revision of the protocol: ``one_revision.py old|new COMMAND…`` refuses the other's requests.

It stands before a server that knows both, line by line, as that itself takes the revision of the first request for good.
"""

import json
import subprocess
import sys
import threading

speaks, *command = sys.argv[1:]
process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
writing = threading.Lock()


def say(line: bytes) -> None:
    with writing:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def pass_on() -> None:
    for line in process.stdout:
        say(line)


threading.Thread(target=pass_on, daemon=True).start()
for line in sys.stdin.buffer:
    message = json.loads(line)
    asks = "method" in message and "id" in message
    meta = (message.get("params") or {}).get("_meta") or {}
    modern = "io.modelcontextprotocol/protocolVersion" in meta
    if asks and modern == (speaks == "old"):
        refusal = {"code": -32601, "message": "Method not found"}
        say(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": refusal}).encode() + b"\n")
    else:
        process.stdin.write(line)
        process.stdin.flush()
process.stdin.close()
process.wait()
