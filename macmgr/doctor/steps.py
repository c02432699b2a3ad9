"""A step of the doctor's advice. Its commands are run through the model of frames before it is printed. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from macmgr.doctor.expectedgain import Key
from macmgr.forwarding.guestaddresses import in_use, may_have, own_addresses
from macmgr.forwarding.harm import Harm, harms
from macmgr.forwarding.typed import typed
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import Snapshot

_JUDGED = (("bridge", "link", "set"),)  # the others of the doctor's own change no frame's way, or are macmgr's verbs


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the reason in whole sentences, the commands, and the gain together with the steps before it.

    The file ``where`` must hold ``lines`` before the commands run. The step ends the causes in ``removes``.
    """

    text: str
    commands: tuple[str, ...] = ()
    gain: str = ""
    where: str = ""
    lines: tuple[str, ...] = ()
    removes: frozenset[Key] = frozenset()


def harmless_steps(steps: Iterable[Step], bridge: str, intent: Intent, snapshot: Snapshot) -> Iterator[Step]:
    """Yields the steps, without the commands by which a guest of the bridge would be cut off, or heard by others."""
    for step in steps:
        if harm := _harm(step, bridge, intent, snapshot):
            guest = f"{harm.guest.port} of {harm.guest.domain}"
            guest = guest if harm.mac == harm.guest.macs[0] else f"{harm.mac} behind {guest}"
            what = f"{guest} would be cut off" if harm.cut_off else f"others would hear {guest}"
            text = f"{step.text} But no command is printed, because {what} by it."
            yield replace(step, text=text, commands=(), gain="", removes=frozenset())
        else:
            yield step


def _harm(step: Step, bridge: str, intent: Intent, snapshot: Snapshot) -> Harm | None:
    own = own_addresses(intent.ports)

    def addresses(guest: GuestPort) -> Iterator[str]:
        if snapshot.port_on(bridge, guest.port):
            yield from may_have(guest, own)
            yield from in_use(guest, snapshot, own)

    words = [tuple(shlex.split(command)) for command in step.commands]
    judged = [command for command in words if command[:3] in _JUDGED and "&&" not in command]
    after = snapshot
    for command in judged:
        after = typed(after, command)
    return next(harms(snapshot, after, intent, addresses), None) if judged else None
