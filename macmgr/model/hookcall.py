"""A call of a libvirt hook, and the calls that macmgr acts on."""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.oneline import one_line

# The operations that each hook acts on. All others end at once (in the shim, before Python starts).
OPERATIONS = {
    "qemu": ("start", "started", "reconnect", "stopped", "release"),
    "lxc": ("start", "started", "reconnect", "stopped", "release"),
    "network": ("started", "updated"),
    "daemon": ("start", "reload"),
}
TRIED = "try"  # an operation that libvirt does not have (macmgr.hookcheck)
# The most XML that macmgr reads from standard input: the limit of readers/document; one byte more is too much.
MAX_INPUT = 8 * 1024 * 1024
# The calls that libvirt can refuse without killing a running guest.
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
        """The call gives macmgr something to do."""
        return self.operation in OPERATIONS.get(self.driver, ())

    @property
    def refusable(self) -> bool:
        """libvirt can refuse a guest here without killing a running one."""
        return (self.driver, self.operation) in REFUSABLE

    def line(self, message: str) -> str:
        """Returns ``message`` as the hook's one line of output."""
        return one_line(f"macmgr: {self.driver} {self.object} {self.operation}: {message}")
