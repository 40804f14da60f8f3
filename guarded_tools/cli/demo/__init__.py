"""``guarded-tools demo``: the whole line, end to end, on this machine alone.

Promises a run that needs no key and no network, played by a scripted chat model unless one is named. Start reading at
:mod:`~guarded_tools.cli.demo.run`.
"""

from guarded_tools.cli.demo.run import demo

__all__ = ["demo"]
