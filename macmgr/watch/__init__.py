"""The daemon: its event sources, its rounds, its log and its metrics."""
