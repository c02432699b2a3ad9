"""Why macmgr stopped, one class per person who must act, each with its exit code.

The codes are part of the contract (sysexits.h where one fits). Each message is one line: what, where,
the kernel's or the parser's own words, what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

IN_SYNC = 0
DRIFT = 1
USAGE = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote: its line, None where the whole file is meant, and what is wrong."""

    line: int | None
    text: str

    def at(self, where: str) -> str:
        """``FILE:LINE: what is wrong``, as compilers and editors write it."""
        return f"{where}:{self.line}: {self.text}" if self.line else f"{where}: {self.text}"


class MacmgrError(Exception):
    """Something the person at the keyboard can read and act on; never a bug of ours."""

    exit_code = 70


def unexpected(error: BaseException) -> MacmgrError:
    """A bug of ours, as a line that a report can begin with: what and where, and nothing of what was read."""
    where, place = "a place unknown", error.__traceback__
    while place is not None:
        where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}"
        place = place.tb_next
    return MacmgrError(f"failed unexpectedly ({type(error).__name__} at {where}); please report it")


class XmlError(MacmgrError):
    """A document that libvirt, or a person, wrote is not understood."""

    exit_code = 65


class NotThere(MacmgrError):
    """libvirt, a domain or a bridge that was named does not exist here."""

    exit_code = 69


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about a name that is not here: the name of what is here that comes nearest, if any does."""
    near = get_close_matches(name, sorted(names), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


class KernelError(MacmgrError):
    """The kernel refused a netlink request; the message carries its own words."""

    exit_code = 71


class Busy(MacmgrError):
    """Another writer holds the lock: the process ``pid``, where that can be seen, which runs ``program``."""

    exit_code = 75

    def __init__(self, message: str, pid: int | None = None, program: str = "") -> None:
        super().__init__(message)
        self.pid, self.program = pid, program


class NoPermission(MacmgrError):
    """The process lacks CAP_NET_ADMIN, or may not read libvirt's status files."""

    exit_code = 77


class ConfigError(MacmgrError):
    """The configuration is wrong; the message names file, place and the values allowed."""

    exit_code = 78
