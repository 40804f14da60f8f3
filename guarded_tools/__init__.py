"""Guarded tools: every call an agent makes is checked first."""
