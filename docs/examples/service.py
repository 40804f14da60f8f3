"""A service of several workers: a session for each user, one policy, one state. Needs fastapi and uvicorn.

$ POLICY=policy.yaml python -m uvicorn --app-dir docs/examples service:app --workers 2
$ curl -X POST localhost:8000/refunds -H 'X-User: ann' -H 'Content-Type: application/json' -d '{"amount": 5}'

POLICY is a file, or a preset's name; STORE a store's URL, such as redis://localhost:6379. Without STORE, counters are on
disk in GUARDED_TOOLS_HOME, which all workers of one machine share.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from langchain_core.tools import tool
from pydantic import BaseModel

from guarded_tools import Guard, StoreError


@tool
async def refund(amount: int) -> str:
    """Pay money back to a customer."""
    return f"paid {amount}"


guard = Guard(os.environ["POLICY"], store=os.environ.get("STORE"))
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
