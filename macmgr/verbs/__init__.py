"""The verbs of the command line; related ones share a module."""
