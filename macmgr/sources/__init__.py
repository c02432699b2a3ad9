"""What libvirt says of this host: its status files, its API, its events, its definitions."""
