"""Counters on a Redis server, for agents on several machines: one script and one round trip a call.

Promises what the disk store does, by the server's own clock. Start reading at
:mod:`~guarded_tools.stores.redis.store`. The script is in ``counters.lua``,
``marks.lua`` and ``operations.lua``, which are one.
"""
