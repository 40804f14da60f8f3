"""From a file of either dialect to a policy document, or to a list of all that is wrong with it, each with its place.

Promises that nothing in a file is ignored. Start reading at :mod:`~guarded_tools.policy.reading.load`.
"""
