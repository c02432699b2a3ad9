"""What stays between two processes: the memory, what the daemon saw, and the lock of the one writer."""
