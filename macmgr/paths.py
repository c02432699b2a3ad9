"""Where things are on a host, unless the command line says otherwise."""

from pathlib import Path

CONFIG = Path("/etc/macmgr/macmgr.toml")
CHECKSUM = ".macmgr.toml.sha256"  # beside it: what `macmgr install` wrote there
LIBVIRT_HOOKS = Path("/etc/libvirt/hooks")
LIBVIRT_RUN = Path("/run/libvirt")  # libvirt's status files are below it
LIBVIRT_URI = "qemu:///system"
RUNTIME = Path("/run/macmgr")  # what lives as long as the daemon, or the boot
LOCK = RUNTIME / "lock"
HOOK_SOCKET = RUNTIME / "hook.sock"  # where the daemon takes hook calls, and is asked for its status
OBSERVED = RUNTIME / "observed.json"  # what the daemon has seen behind guest ports
REMEMBERED = RUNTIME / "remembered"  # says that there is, or was, something in STATE in this boot
STATE = Path("/var/lib/macmgr/state.json")  # what is remembered between two processes
SYSTEMD = Path("/run/systemd/system")  # there where systemd runs this host: sd_booted(3)
UNITS = Path("/etc/systemd/system")
