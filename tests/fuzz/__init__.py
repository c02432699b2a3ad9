"""Inputs that nobody foresaw, for all that reads what others wrote: docs/fuzzing.rst."""
