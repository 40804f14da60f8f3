"""What is raised to leave a call and come back to it, told apart from what failed.

An interrupt of LangGraph's, or a command to a parent graph, is an ordinary ``Exception`` that has to pass every handler
untouched. LangGraph is never imported for this: where nobody imported it, nothing can have raised one.
"""

from __future__ import annotations

import sys

from guarded_tools.approvers.protocol import Suspended


def is_suspension(error: BaseException) -> bool:
    """Whether this was raised to steer a run (an interrupt, a command to a parent), not to report a failure.

    An answer that does not fit its interrupt's schema is one too: the run waits on, to be answered again. Such an
    exception is an ordinary ``Exception`` and has to pass every handler untouched.
    """
    if isinstance(error, Suspended):
        return True
    errors = sys.modules.get("langgraph.errors")  # nothing can have raised it where it was never imported
    if errors is None:
        return False
    misfit = getattr(errors, "is_invalid_resume", None)  # older ones know no schema for answers
    return isinstance(error, errors.GraphBubbleUp) or (misfit is not None and misfit(error))


def will_run_again(error: BaseException) -> bool:
    """Whether LangGraph runs the body anew once the run goes on: after an interrupt, not after a hand-over."""
    if not is_suspension(error) or isinstance(error, Suspended):
        return False
    return not isinstance(error, sys.modules["langgraph.errors"].ParentCommand)
