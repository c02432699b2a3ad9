"""The state between two processes: the memory, the daemon's sightings, and the lock of the one writer."""
