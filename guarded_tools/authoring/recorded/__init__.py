"""What was recorded of calls, whatever recorded it, as one stream of frozen values in the order in which it happened.

The audit tells what became of each call and when; checkpoints, traces and files of calls tell the arguments. Promises
that what was not recorded stays unknown: nothing here fills a gap with a guess. Start reading at
:mod:`~guarded_tools.authoring.recorded.events`.
"""
