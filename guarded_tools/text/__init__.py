"""What leaves the process as text: secrets masked, the invisible shown, tables for terminals and notebooks.

Promises that nothing shown can hide, forge or carry away what it stands for. Start reading at
:mod:`~guarded_tools.text.visible` and :mod:`~guarded_tools.text.redaction`.
"""
