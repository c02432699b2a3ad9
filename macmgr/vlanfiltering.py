"""Turns VLAN filtering on for a bridge, if that cuts nobody off. No other verb does it as a side effect.

Check and change happen under the writer lock: look, refuse with the whole list or change, read back. The entries in
each VID are then the normal apply's work.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from macmgr.doctor.vlancheck import who_would_be_cut
from macmgr.errors import KernelError, no_bridge
from macmgr.model.devices import DeviceFacts
from macmgr.model.intent import Intent
from macmgr.model.snapshot import Bridge, Snapshot
from macmgr.planning.plugged import with_taps
from macmgr.state.lock import WriterLock


class Kernel(Protocol):
    """The kernel as it is needed here; `macmgr.kernel.Kernel` is the real one."""

    def read_snapshot(
        self, bridges: Collection[str] | None = None, ports: Collection[str] = (), *, whole: bool = False
    ) -> Snapshot: ...

    def read_devices(self) -> DeviceFacts: ...

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """``cut`` names those that would be cut off: nothing was done. ``turned_on`` is False where it was on before."""

    turned_on: bool = False
    cut: tuple[str, ...] = ()


def turn_on(_lock: WriterLock, name: str, read_intent: Callable[[], Intent], kernel: Kernel) -> Answer:
    """Turn it on if nobody is cut off. Nothing is done where it is on.

    NotThere where the bridge does not exist; KernelError where the kernel took the request and did not do it.
    """
    snapshot = kernel.read_snapshot({name}, whole=True)
    intent = with_taps(read_intent(), snapshot)
    bridge = snapshot.bridges.get(name)
    if bridge is None:
        raise no_bridge(name, snapshot.bridges)
    if bridge.vlan_filtering:
        return Answer()
    if cut := who_would_be_cut(name, intent, snapshot, kernel.read_devices()):
        return Answer(cut=tuple(cut))
    kernel.turn_vlan_filtering_on(bridge)
    after = kernel.read_snapshot(()).bridges.get(name)
    if after is None or not after.vlan_filtering:
        raise KernelError(f"turning VLAN filtering on for {name}: the kernel acknowledged it, but it is off")
    return Answer(turned_on=True)
