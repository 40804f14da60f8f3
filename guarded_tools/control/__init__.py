"""What a person does to the state, from a terminal or a web page: halt, resume, reset, take a label away.

Each is done and written down in the audit in one way, whoever asks for it. Start reading at
:mod:`~guarded_tools.control.actions`.
"""
