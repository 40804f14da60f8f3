"""``python -m guarded_tools.cli``: the same as the ``guarded-tools`` command."""

from guarded_tools.cli.app import main

main()
