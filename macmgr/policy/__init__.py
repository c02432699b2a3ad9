"""Decides the manager of each port's MAC table: libvirt's XML and the configuration become the intent. Pure."""
