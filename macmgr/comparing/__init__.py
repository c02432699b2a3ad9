"""Audits of several hosts, held against each other."""
