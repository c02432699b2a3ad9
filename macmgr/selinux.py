"""Whether SELinux lets libvirt's daemons execute hooks, asked of the kernel through selinuxfs.

Hooks are ``virt_hook_t``. Only virtnetworkd may run them, and only where the boolean ``virt_hooks_unconfined`` is on,
which it is not by default; for virtqemud there is no rule at all (fedora-selinux/selinux-policy#2195, #2216). The
policy that is loaded is asked; where it cannot be, the boolean says what there is to know.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/selinux")
BOOLEAN = "virt_hooks_unconfined"
# Which daemon runs as what: the contexts that init starts them in, where the policy has a domain for them.
_DAEMONS = {
    "libvirtd": "virtd_t",
    "virtqemud": "virtqemud_t",
    "virtnetworkd": "virtnetworkd_t",
    "virtlxcd": "virtlxcd_t",
}
_SBIN = (Path("/usr/sbin"), Path("/usr/bin"))
_RUN = Path("/run/libvirt")
_SOCKETS = {"libvirtd": "libvirt-sock"} | {name: f"{name}-sock" for name in _DAEMONS if name != "libvirtd"}
_LABEL = "security.selinux"
_PERMISSIVE = 1  # SELINUX_AVD_FLAGS_PERMISSIVE


@dataclass(frozen=True, slots=True)
class SELinux:
    """The kernel's, or a copy of its files below another ``root``.

    ``sbin`` is where libvirt's daemons are installed, ``run`` where the sockets are of those that are used.
    """

    root: Path = ROOT
    sbin: tuple[Path, ...] = _SBIN
    run: Path = _RUN

    def forbids(self, place: Path) -> str:
        """Why libvirt could not execute a hook at, or below, ``place``; empty where nothing is known against it."""
        if self._read("enforce") != "1":
            return ""
        answers = {daemon: self._allows(_DAEMONS[daemon], place) for daemon in self._used()}
        denied = [daemon for daemon, allowed in answers.items() if allowed is False]
        boolean = self._read(f"booleans/{BOOLEAN}").split()[:1]
        off = boolean == ["0"]
        if denied:
            cure = f"'setsebool -P {BOOLEAN} on' may allow it" if off else "its policy has no rule for it"
            return f"SELinux is enforcing and does not let {' and '.join(denied)} execute hooks; {cure}"
        if off and not any(answers.values()):
            return f"SELinux is enforcing, and the boolean {BOOLEAN} is off; 'setsebool -P {BOOLEAN} on' allows hooks"
        return ""

    def _used(self) -> list[str]:
        """The daemons that run hooks here: of those that are installed, the ones with a socket, where one has."""
        installed = [each for each in _DAEMONS if any((directory / each).exists() for directory in self.sbin)]
        return [each for each in installed if (self.run / _SOCKETS[each]).exists()] or installed

    def _allows(self, domain: str, place: Path) -> bool | None:
        """Whether the policy lets a domain execute a file like ``place``; None where that cannot be asked."""
        label = _label(place)
        if not label:
            return None
        with suppress(OSError, ValueError, IndexError):
            source = f"system_u:system_r:{domain}:s0"
            file = int(self._read("class/file/index"))
            allowed, flags = self._access(source, label, file)
            execute, without_transition = (
                1 << (int(self._read(f"class/file/perms/{name}")) - 1) for name in ("execute", "execute_no_trans")
            )
            if flags & _PERMISSIVE:
                return True
            if not allowed & execute:
                return False
            if allowed & without_transition:
                return True
            process = int(self._read("class/process/index"))
            target = self._ask("create", f"{source} {label} {process}")
            transition = 1 << (int(self._read("class/process/perms/transition")) - 1)
            return target != source and bool(self._access(source, target, process)[0] & transition)
        return None

    def _access(self, source: str, target: str, kind: int) -> tuple[int, int]:
        """What ``source`` may do with ``target``, as bits, and the flags of that answer (sel_write_access)."""
        words = self._ask("access", f"{source} {target} {kind} ffffffff").split()
        return int(words[0], 16), int(words[5], 16)

    def _ask(self, name: str, question: str) -> str:
        """A transaction file: the answer is read from where the question was written."""
        descriptor = os.open(self.root / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(descriptor, question.encode())
            return os.read(descriptor, 4096).decode().strip("\0\n ")
        finally:
            os.close(descriptor)

    def _read(self, name: str) -> str:
        """What is in one of the files; empty where it is not there."""
        with suppress(OSError, ValueError):
            return (self.root / name).read_text(encoding="ascii").strip("\0\n ")
        return ""


def _label(place: Path) -> str:
    """The context of the file, or of the directory that is to hold it, which a new file gets too."""
    while not place.exists() and place != place.parent:
        place = place.parent
    with suppress(OSError):
        return os.getxattr(place, _LABEL).decode().strip("\0")
    return ""
