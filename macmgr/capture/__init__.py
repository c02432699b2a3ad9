"""Captures: all that the verbs read of a host, in files for a bug report, and those files read back in its place."""
