"""Why a port is promiscuous, what to do about it, and what that would gain. Pure; nothing is ever changed."""
