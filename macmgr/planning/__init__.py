"""Compares intent and snapshot: the findings, and the changes that put them right. Pure."""
