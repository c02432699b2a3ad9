"""libvirt's state on this host: status files, API, events, network definitions."""
