"""``guarded-tools demo``: the whole line, end to end, on this machine alone."""

from guarded_tools.cli.demo.run import demo

__all__ = ["demo"]
