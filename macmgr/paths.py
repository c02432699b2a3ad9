"""Default places on a host; the command line may name others."""

from pathlib import Path

CONFIG = Path("/etc/macmgr/macmgr.toml")
CHECKSUM = ".macmgr.toml.sha256"  # in the same directory: the checksum of what `macmgr install` wrote
LIBVIRT_HOOKS = Path("/etc/libvirt/hooks")
LIBVIRT_RUN = Path("/run/libvirt")  # libvirt's status files are below it
LIBVIRT_URI = "qemu:///system"
RUNTIME = Path("/run/macmgr")  # its files last as long as the daemon, or the boot
LOCK = RUNTIME / "lock"
HOOK_SOCKET = RUNTIME / "hook.sock"  # the daemon takes hook calls and status requests here
OBSERVED = RUNTIME / "observed.json"  # the daemon writes the addresses seen behind guest ports here
REMEMBERED = RUNTIME / "remembered"  # exists if STATE holds, or held, something in this boot
STATE = Path("/var/lib/macmgr/state.json")  # memory between two processes
SYSTEMD = Path("/run/systemd/system")  # exists if systemd runs this host: sd_booted(3)
UNITS = Path("/etc/systemd/system")
PACKAGED_UNITS = Path("/usr/lib/systemd/system")  # a distribution's package puts the unit here
