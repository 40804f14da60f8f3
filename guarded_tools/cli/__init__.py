"""The command line, ``guarded-tools``: thin commands over what the package does anyway.

Promises stable exit codes and that a command loads only what it needs. Start reading at
:mod:`~guarded_tools.cli.app`.
"""
