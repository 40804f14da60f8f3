"""What this package touches of other libraries without their promise: one file for each library, and nowhere else.

Each file says what it touches, why, and with which versions it was run; ``pyproject.toml`` bounds these from below and
from above. Start reading at the library that changed.
"""
