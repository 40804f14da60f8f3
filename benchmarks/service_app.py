"""The example of a service, with a tool that writes down what it did, and the same road without the guard beside it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Annotated, Any

from fastapi import Header
from langchain_core.tools import tool
from pydantic import BaseModel

EFFECTS = os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

service: Any = import_module("service")  # beside no package: uvicorn is told where it is
app = service.app


@tool
async def refund(amount: int) -> str:
    """Pay money back to a customer."""
    os.write(EFFECTS, b"%d %d\n" % (amount, os.getpid()))
    return f"paid {amount}"


service.TOOLS[:] = [refund]


class Refund(BaseModel):
    """What is to be paid back."""

    amount: int


async def bare(wanted: Refund, x_user: Annotated[str, Header()]) -> dict[str, str]:  # noqa: ARG001 - read there as well
    """Pay, whoever asks."""
    return {"said": await refund.ainvoke({"amount": wanted.amount})}


app.post("/bare")(bare)
