"""What another policy would have made of calls that were recorded, told from what it was that happened to them.

Promises that the policy is judged as in earnest, by the engine and the counters that a guard uses, and that a call of
which too little was recorded is a call that cannot be judged, never one that is allowed. Start reading at
:mod:`~guarded_tools.authoring.replay.engine`.
"""
