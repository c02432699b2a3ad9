"""Asks the kernel, through selinuxfs, if SELinux lets libvirt's daemons execute hooks.

Hooks are ``virt_hook_t``. Only virtnetworkd may run them, and only if the boolean ``virt_hooks_unconfined`` is on; it
is off by default. virtqemud has no rule at all (fedora-selinux/selinux-policy#2195, #2216). The loaded policy is asked.
If that is impossible, the boolean decides.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/selinux")
BOOLEAN = "virt_hooks_unconfined"
# The domain of each daemon: init starts it in this context, if the policy has the domain.
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
    """The kernel's SELinux, or a copy of its files below another ``root``.

    ``sbin`` is the place of libvirt's daemons, ``run`` the place of the sockets of the daemons in use.
    """

    root: Path = ROOT
    sbin: tuple[Path, ...] = _SBIN
    run: Path = _RUN

    def forbids(self, place: Path) -> str:
        """Returns the reason why libvirt could not execute a hook at, or below, ``place``; empty if none is known."""
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
        """Returns the daemons that run hooks here: the installed ones with a socket, or all if none has one."""
        installed = [each for each in _DAEMONS if any((directory / each).exists() for directory in self.sbin)]
        return [each for each in installed if (self.run / _SOCKETS[each]).exists()] or installed

    def _allows(self, domain: str, place: Path) -> bool | None:
        """The policy lets a domain execute a file like ``place``. None if it cannot be asked."""
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
        """Returns the rights of ``source`` on ``target`` as bits, and the flags of that answer (sel_write_access)."""
        words = self._ask("access", f"{source} {target} {kind} ffffffff").split()
        return int(words[0], 16), int(words[5], 16)

    def _ask(self, name: str, question: str) -> str:
        """Asks through a transaction file: the question is written to it, the answer read from it."""
        descriptor = os.open(self.root / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(descriptor, question.encode())
            return os.read(descriptor, 4096).decode().strip("\0\n ")
        finally:
            os.close(descriptor)

    def _read(self, name: str) -> str:
        """Returns the content of one of the files; empty if it is not there."""
        with suppress(OSError, ValueError):
            return (self.root / name).read_text(encoding="ascii").strip("\0\n ")
        return ""


def _label(place: Path) -> str:
    """Returns the context of the file, or of its future directory, which a new file gets too."""
    while not place.exists() and place != place.parent:
        place = place.parent
    with suppress(OSError):
        return os.getxattr(place, _LABEL).decode().strip("\0")
    return ""
