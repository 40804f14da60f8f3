"""What a change of a policy means: what is newly reachable, unasked or hidden, and which limits are wider or narrower.

Promises that what is looser is found with calls that were really judged under both policies, and that what cannot be
told is said to be so, never left out. Start reading at :mod:`~guarded_tools.authoring.diff.engine`.
"""

from __future__ import annotations

from guarded_tools.authoring.diff.engine import compare
from guarded_tools.authoring.diff.values import Difference, Example, PolicyChange

__all__ = ["Difference", "Example", "PolicyChange", "compare"]
