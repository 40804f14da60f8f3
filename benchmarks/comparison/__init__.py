"""The measured cells of the comparison in docs/comparison.md: ``python -m benchmarks.comparison``.

One task for all: an agent's session may send 30 messages. What was sent is counted by the tool itself, in a file that
all processes append to. Each subject is set up as its own documentation says, with what it keeps on disk where it can.
"""
