"""libvirt's hook calls: which concern macmgr, how they are guarded, and what they do."""
