"""Turns VLAN filtering on for a bridge, if that cuts nobody off. No other verb does it as a side effect.

Check and change happen under the writer lock: look, refuse with the whole list or change, read back. The entries in
each VID are then the normal apply's work.

libvirt turns it on too, without a check, when a network with macTableManager='libvirt' starts
(networkStartHandleMACTableManagerMode in src/network/bridge_driver.c). An audit says who would be cut off by that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from macmgr import virsh
from macmgr.doctor.vlancheck import who_would_be_cut
from macmgr.errors import KernelError, no_bridge
from macmgr.model.devices import DeviceFacts
from macmgr.model.findings import Code, Command, Finding
from macmgr.model.intent import Intent
from macmgr.model.snapshot import Bridge, Snapshot
from macmgr.phrases import listed
from macmgr.planning.plugged import with_taps
from macmgr.state.lock import WriterLock
from macmgr.view import View

_FEW = 3  # sentences that a finding repeats


class Reading(Protocol):
    """The kernel as it is read here; `macmgr.kernel.Kernel` is the real one."""

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot: ...

    def read_devices(self) -> DeviceFacts: ...


class Kernel(Reading, Protocol):
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


def cut_at_next_start(bridges: Collection[str], intent: Intent, kernel: Reading) -> dict[str, tuple[str, ...]]:
    """Returns, for each bridge that is here and does not filter, a sentence for each that filtering would cut off."""
    ports = {guest.port for guest in intent.ports if guest.bridge in bridges}
    snapshot = kernel.read_snapshot(bridges, ports)
    open_ones = [name for name in bridges if name in snapshot.bridges and not snapshot.bridges[name].vlan_filtering]
    if not open_ones:
        return {}
    intent, facts = with_taps(intent, snapshot), kernel.read_devices()
    return {name: tuple(who_would_be_cut(name, intent, snapshot, facts)) for name in open_ones}


def with_next_starts(view: View, kernel: Reading) -> View:
    """Returns the view with findings about the networks whose next start turns VLAN filtering on.

    Where that would cut somebody off, no other finding's fix starts the network.
    """
    networks: dict[str, list[str]] = {}
    for network, bridge in view.intent.start_filtering:
        there = view.snapshot.bridges.get(bridge)
        if there is not None and not there.vlan_filtering:
            networks.setdefault(bridge, []).append(network)
    if not networks:
        return view
    cut = cut_at_next_start(networks, view.intent, kernel)
    starts = {virsh.start_network(name) for bridge in cut if cut[bridge] for name in networks[bridge]}
    told = (_without(starts, finding) for finding in view.plan.findings)
    ahead = filter(view.scope.covers, _next_starts(networks, cut))
    return replace(view, plan=replace(view.plan, findings=(*told, *ahead)))


def _without(starts: set[Command], finding: Finding) -> Finding:
    if starts.isdisjoint(each for each in finding.mends if isinstance(each, tuple)):
        return finding
    return replace(finding, mends=(), note=f"put right first what {Code.FILTERING_AT_NEXT_START} says")


def _next_starts(networks: dict[str, list[str]], cut: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    for bridge, sentences in cut.items():
        names = networks[bridge]
        when = f"when {'network' if len(names) == 1 else 'one of the networks'} {listed(names)} starts"
        if sentences:
            more = len(sentences) - _FEW
            yield Finding(
                Code.FILTERING_AT_NEXT_START,
                f"{when}, libvirt turns VLAN filtering on for {bridge}. {' '.join(sentences[:_FEW])}"
                f"{f' And {more} more.' if more > 0 else ''}",
                bridge,
                mends=(("macmgr", "doctor", bridge),),
                note="change what is named first; frames that guests tag by themselves, without a <vlan> in their "
                "XML, cannot be seen from the host, and would be dropped",
            )
        else:
            yield Finding(
                Code.VLAN_FILTERING_OFF,
                f"{when}, libvirt turns VLAN filtering on for {bridge}: as far as the host shows, that cuts nobody off",
                bridge,
            )
