"""macmgr manages the MAC table (the FDB) of Linux bridges for libvirt guests."""

__version__ = "0.1.0"
