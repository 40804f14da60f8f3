"""Pictify's 31 tools: what each does and risks, how its server is reached, and a local one that keeps its rules.

Promises presets that work without a key, against the sandbox. Start reading at
:mod:`~guarded_tools.pictify.connection`.
"""
