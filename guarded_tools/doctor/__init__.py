"""What is wrong with an installation or with a state directory, told with its cause and the command to run next.

Promises that looking changes nothing: counters are examined in a copy, locks are read from the kernel's list, not
taken, and nothing is created. Facts are gathered in :mod:`~guarded_tools.doctor.gathered` and
:mod:`~guarded_tools.doctor.gathered_state`; what they mean is decided by pure functions. Start reading at
:mod:`~guarded_tools.doctor.installation` and :mod:`~guarded_tools.doctor.state`.
"""
