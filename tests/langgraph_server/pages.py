"""Two approvals in one message at LangGraph's own pages, built from their repositories: ``make langgraph-pages``.

Agent Chat UI and Agent Inbox, driven by Debian's Chromium against the real ``langgraph dev``, in each form of
``InterruptApprover``. It prints what became of the calls, and ends with 1 where that is not what the documentation says.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from tests.browsing import CHROMIUM, picture
from tests.langgraph_server.dev import GO, PATIENCE, ROOT, Server, answers, free_port

BUILT = ROOT / ".langgraph-pages"
INBOX = "11111111-1111-4111-8111-111111111111"
STUCK = "waits: the page names no interrupt"
DOCUMENTED = {
    ("agent-chat-ui", "each_by_itself"): STUCK,
    ("agent-chat-ui", "batched"): "paid back 5 | sent to ann | DENIED",
    ("agent-inbox", "each_by_itself"): STUCK,
    ("agent-inbox", "batched"): "DENIED | sent to ann | DENIED",
    ("agent-inbox", "one_by_one"): "paid back 5 | sent to ann | DENIED",
}


@contextlib.contextmanager
def served(page):
    """Start a page that was built; yield its address."""
    port = free_port()
    command = ["node_modules/.bin/next", "start", "-p", str(port), "-H", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=BUILT / page, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(url, timeout=10)
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def chat(tab, page, server, form, client):
    """Ask in Agent Chat UI; approve the first call there, and reject the second where it offers that."""
    tab.goto(f"{page}/?apiUrl={server}&assistantId={form}")
    tab.get_by_placeholder("Type your message...").fill("Pay Ann and Bob back")
    tab.get_by_role("button", name="Send").click()
    approve = tab.get_by_role("button", name="Approve", exact=True)
    approve.wait_for()
    if form == "batched":
        picture(tab, "agent-chat-ui")
    approve.click()
    if form == "batched":
        tab.get_by_placeholder("Share feedback with the agent...").fill("not this one")
        tab.get_by_role("button", name="Submit rejection").click()
        tab.get_by_role("button", name="Submit all 2 decisions").click()
    (thread,) = client.threads.search(metadata={"graph_id": form}, limit=1)
    return thread["thread_id"]


def inbox(tab, page, server, form, client):
    """Answer in Agent Inbox: accept the first question, ignore the second where there is one."""
    thread = client.threads.create(graph_id=form)["thread_id"]
    client.runs.wait(thread, form, input=GO)
    known = [{"id": INBOX, "graphId": form, "deploymentUrl": server, "name": form, "selected": True, "createdAt": ""}]
    kept = {"inbox:agent_inboxes": json.dumps(known), "inbox:langchain_api_key": "none"}
    for name, value in kept.items():
        tab.add_init_script(f"localStorage.setItem({json.dumps(name)}, {json.dumps(value)})")
    tab.goto(f"{page}/?agent_inbox={INBOX}&offset=0&limit=10&inbox=interrupted")
    tab.get_by_text(re.compile("^pay_back · .* amount 5")).first.wait_for()  # in its list
    tab.goto(f"{tab.url}&view_state_thread_id={thread}")
    accept = tab.get_by_role("button", name="Accept", exact=True)
    accept.wait_for()
    if form == "one_by_one":
        picture(tab, "agent-inbox")
    accept.click()
    if form == "one_by_one":
        tab.get_by_text(re.compile("^pay_back · .* amount 7")).wait_for()
        tab.get_by_role("button", name="Ignore", exact=True).click()
    return thread


def became(client, thread):
    """What became of the calls, once the run has ended or nothing more happens to it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        state = client.threads.get_state(thread)
        if not state["next"]:
            return " | ".join(said.partition(":")[0] for said in answers(state["values"]))
        time.sleep(0.2)
    return STUCK


def main():
    """Try each page with each form."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        unused = {"ASKING_SERVER": str(ROOT / "tests/servers/asking_server.py"), "HOOK": "http://127.0.0.1:9"}
        server = Server(Path(folder), RAN=f"{folder}/ran", **unused)
        with server.running() as client:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for (page, form), documented in DOCUMENTED.items():
                with served(page) as url:
                    tab = browser.new_page(viewport={"width": 1300, "height": 1000})
                    answer = chat if page == "agent-chat-ui" else inbox
                    found = became(client, answer(tab, url, server.url, form, client))
                    tab.close()
                wrong += found != documented
                print(f"{page:15}{form:16}{found}{'' if found == documented else f'  (documented: {documented})'}")
            browser.close()
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
