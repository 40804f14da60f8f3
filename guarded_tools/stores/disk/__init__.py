"""Counters in a directory, through diskcache: exact across threads, processes, crashes and clock steps.

Promises that a limit holds or a call is refused, whatever happens to the files. Start reading at
:mod:`~guarded_tools.stores.disk.store`, then :mod:`~guarded_tools.stores.disk.operations`.
"""
