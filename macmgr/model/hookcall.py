"""A call of a libvirt hook, and which calls macmgr has something to do for."""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.oneline import one_line

# What each hook has to look at; everything else ends at once (and in the shim, before Python is started).
OPERATIONS = {
    "qemu": ("start", "started", "reconnect", "stopped", "release"),
    "lxc": ("start", "started", "reconnect", "stopped", "release"),
    "network": ("started", "updated"),
    "daemon": ("start", "reload"),
}
# As much XML as is read of standard input: what readers/document takes, one byte more is too much.
MAX_INPUT = 8 * 1024 * 1024
# Where libvirt can refuse without killing what already runs.
REFUSABLE = {("qemu", "prepare"), ("qemu", "start"), ("lxc", "prepare"), ("lxc", "start")}


@dataclass(frozen=True, slots=True)
class HookCall:
    """libvirt's four arguments and the driver that called: `qemu web1 started begin -`."""

    driver: str
    object: str
    operation: str
    sub_operation: str = "-"
    extra: str = "-"

    @property
    def relevant(self) -> bool:
        """Whether there is anything to do."""
        return self.operation in OPERATIONS.get(self.driver, ())

    @property
    def refusable(self) -> bool:
        """Whether a guest can be refused here without killing what runs."""
        return (self.driver, self.operation) in REFUSABLE

    def line(self, message: str) -> str:
        """``message`` as the one line that a hook says."""
        return one_line(f"macmgr: {self.driver} {self.object} {self.operation}: {message}")
