"""Explains why a port is promiscuous, which steps end that, and what they gain. Pure; changes nothing."""
