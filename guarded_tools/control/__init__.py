"""What a person does to the state, from a terminal or a web page, and what is to be seen of it at one moment.

Halt, resume, reset, take a label away: each is done and written down in the audit in one way, whoever asks for it.
Start reading at :mod:`~guarded_tools.control.actions`, and for what is seen at :mod:`~guarded_tools.control.present`.
"""
