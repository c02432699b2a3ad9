"""Errors that stop macmgr: one class per person who must act, each with its exit code.

The codes are part of the contract (sysexits.h where one fits). Each message is one line: the fault, its place, the
kernel's or the parser's own words, and the next step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

IN_SYNC = 0
DRIFT = 1
USAGE = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote. ``line`` is None if the whole file is meant."""

    line: int | None
    text: str

    def at(self, where: str) -> str:
        """Returns ``FILE:LINE: what is wrong``, as compilers and editors write it."""
        return f"{where}:{self.line}: {self.text}" if self.line else f"{where}: {self.text}"


class MacmgrError(Exception):
    """An error that the person at the keyboard can read and act on; never a bug of ours."""

    exit_code = 70


def unexpected(error: BaseException) -> MacmgrError:
    """Turns a bug of ours into the first line of a report: type and place, and nothing of what was read.

    A library that cannot be imported is no bug: after an upgrade of Python, its libraries are those of the old one.
    """
    if isinstance(error, ImportError):
        return MacmgrError(
            f"{sys.executable} does not find all that macmgr needs ({type(error).__name__}: {error}); after an upgrade "
            "of Python or macmgr, install macmgr again for that Python"
        )
    where, place = "a place unknown", error.__traceback__
    while place is not None:
        where = f"{place.tb_frame.f_code.co_filename.rpartition('/')[2]}:{place.tb_lineno}"
        place = place.tb_next
    return MacmgrError(
        f"failed unexpectedly ({type(error).__name__} at {where}); please report it, with a 'macmgr capture'"
    )


class XmlError(MacmgrError):
    """macmgr does not understand a document that libvirt or a person wrote."""

    exit_code = 65


class CaptureError(MacmgrError):
    """A capture is torn, of another version, or no capture at all."""

    exit_code = 65


class NotThere(MacmgrError):
    """The named libvirt, domain or bridge does not exist here."""

    exit_code = 69


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name: the nearest known name, if one is near."""
    near = nearest_name(name, names)
    return near and f"; did you mean {near!r}?"


def nearest_name(name: str, names: Iterable[str]) -> str:
    """Returns the known name that was probably meant, capitals aside; empty if none is near."""
    spelt = {known.lower(): known for known in sorted(names)}
    return next((spelt[near] for near in get_close_matches(name.lower(), spelt, 1)), "")


def no_bridge(name: str, bridges: Iterable[str]) -> NotThere:
    near = did_you_mean(name, bridges)
    return NotThere(f"bridge {name!r} does not exist here; see 'ip link show type bridge'{near}")


class KernelError(MacmgrError):
    """The kernel refused a netlink request; the message carries its own words."""

    exit_code = 71


class Busy(MacmgrError):
    """Another writer holds the lock: the process ``pid``, if visible, which runs ``program``."""

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
