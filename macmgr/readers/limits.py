"""How much of a document is valid: what more there is, whoever wrote it has to do without.

Whoever owns a guest writes its metadata, and every look at the host reads it. So what one of them may write is bounded
here, and what is beyond is a mistake in that one document, told with its line. docs/metadata.rst lists the limits;
RELAX NG has no word for them.
"""

from __future__ import annotations

# A domain with 26 disks and 8 NICs is some 20 KB; QEMU capabilities make a status file 60 KB. libvirt's own limit
# for one document is 16 MiB, of which almost all would be metadata.
MAX_BYTES = 8 * 1024 * 1024
# Of all that is in <metadata>, where something in it is meant for macmgr. Large ones of other programs have 50 KB.
MAX_METADATA = 256 * 1024
# In <macmgr:macTable>.
MAX_ELEMENTS = 1500
# For one NIC. Each address is an entry in each VID of the guest's port: a tenant must not fill the bridge's table.
MAX_ALLOWED = 1000
# A bridge has at most 1023 ports (BR_MAX_PORTS), and QEMU's guests have room for some hundreds of devices.
MAX_NICS = 1024
# In one <vlan>: as many as there are.
MAX_TAGS = 4096
