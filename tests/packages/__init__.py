"""Packages, built and used where nothing else is: clean trees of Debian, and an empty virtual environment."""
