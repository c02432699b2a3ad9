"""libvirt's hook calls: their guard and their work."""
