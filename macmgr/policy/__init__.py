"""Who manages a port's MAC table, and how: from what libvirt's XML and the configuration say to the intent. Pure."""
