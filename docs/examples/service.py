"""A service of several workers: a session for each user, one policy, one state. Needs fastapi and uvicorn.

$ POLICY=docs/examples/refunds.yaml python -m uvicorn --app-dir docs/examples service:app --workers 2
$ curl -X POST localhost:8000/refunds -H 'X-User: ann' -H 'Content-Type: application/json' -d '{"amount": 5}'

Beside it, in the same environment, the page on which people answer what the policy asks about, such as a refund of 500:

$ guarded-tools web --policy docs/examples/refunds.yaml

POLICY is a file, or a preset's name. Workers, page and commands share one state: the Redis that GUARDED_TOOLS_STORE
names, such as redis://localhost:6379, else what is on disk in GUARDED_TOOLS_HOME. ``deploy/`` has it all as units and in
a container.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from langchain_core.tools import tool
from pydantic import BaseModel

from guarded_tools import Guard, InboxApprover, StoreError, open_store
from guarded_tools.state import state_dir


@tool
async def refund(amount: int) -> str:
    """Pay money back to a customer."""
    return f"paid {amount}"


store = open_store(os.environ.get("GUARDED_TOOLS_STORE") or f"disk://{state_dir()}")
guard = Guard(os.environ["POLICY"], store=store, approver=InboxApprover(store))
TOOLS = [refund]


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Take a new policy as soon as it is there, and leave a closed store behind."""
    with guard.watching():
        yield
    await guard.aclose()


app = FastAPI(lifespan=lifespan)


class Refund(BaseModel):
    """What is to be paid back."""

    amount: int


@app.post("/refunds")
async def pay(wanted: Refund, x_user: Annotated[str, Header()]) -> dict[str, str]:
    """Pay, within the limits of this user. An agent of theirs gets the same tools: create_agent(model, tools)."""
    (guarded,) = guard.for_session(x_user).wrap(TOOLS)  # X-User: set by what authenticates, never by the browser
    return {"said": await guarded.ainvoke({"amount": wanted.amount})}


@app.get("/health")
async def health() -> dict[str, str]:
    """Say whether calls can be counted; where they cannot, every one is refused."""
    try:
        await guard.ausage("(health)")
    except StoreError as error:
        raise HTTPException(503, str(error)) from None
    return {"counters": "ok"}
