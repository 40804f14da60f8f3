"""The first files for a server: cases for a drafted policy, and an agent that runs behind it.

Promises that the cases pass on the draft they were made for, and that no key is written into the agent. Pure: what is
installed and which variables are set is handed in. Start reading at :mod:`~guarded_tools.authoring.first.agent`.
"""
