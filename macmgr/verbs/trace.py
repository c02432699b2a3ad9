"""The verb trace: where a frame goes on this host, and why. It takes one look, and changes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from macmgr import errors
from macmgr.capture.origin import AnyKernel
from macmgr.errors import MacmgrError, NotThere, did_you_mean
from macmgr.forwarding.frames import is_group
from macmgr.forwarding.tracing import Sender, senders_at, senders_to, senders_with, trace
from macmgr.model.intent import GuestPort
from macmgr.model.mac import ZERO, near_mac, parse_typed_destination
from macmgr.model.multicast import mac_of, parse_group
from macmgr.model.snapshot import Snapshot
from macmgr.oneline import unbroken
from macmgr.phrases import listed
from macmgr.planning.reading import Beside
from macmgr.report.traced import Traced
from macmgr.report.tracedocument import trace_document
from macmgr.verbs.host import host_of, out, print_json, view_of
from macmgr.view import View

if TYPE_CHECKING:
    from rich.console import Console

_HIGHEST_VID = 4094
_BEGINS = ("a frame ", "nobody ", "in VLAN ", "the host ")  # no address and no interface's name


def trace_frames(arguments: argparse.Namespace) -> int:
    """Print who gets a frame for ``--to``. Return 0 if its destination surely does, else 1."""
    destination, group = _destination(arguments)
    if arguments.vid is not None and not 1 <= arguments.vid <= _HIGHEST_VID:
        arguments.parser.error(f"argument --vid: {arguments.vid} is no VLAN: 1 to {_HIGHEST_VID}")
    source = _mac(arguments.sender) if arguments.sender is not None else ""
    host = host_of(arguments)
    with host.kernel() as kernel:
        bridges = frozenset(kernel.read_snapshot(()).bridges)
    macs = frozenset(mac for mac in (destination, source) if mac and not is_group(mac))
    view = view_of(arguments, Beside(bridges, macs=macs, bystanders=True))
    senders = _senders(arguments, view, source, destination)
    if arguments.vid is not None:
        senders = list(dict.fromkeys(sender._replace(vid=arguments.vid) for sender in senders))
    if not all(map(view.snapshot.lists, view.snapshot.bridges)):
        with host.kernel() as kernel:
            view = replace(view, snapshot=_looked_up(kernel, view.snapshot, senders, destination))
    if is_group(destination) and any(bridge.relay.snooping for bridge in view.snapshot.bridges.values()):
        with host.kernel() as kernel:
            view = replace(view, snapshot=kernel.read_groups(view.snapshot))
    traced = Traced(view, destination, trace(view.snapshot, senders, destination, group), arguments.vid, group)
    if arguments.format == "json":
        print_json(trace_document(traced))
    else:
        _print(out(arguments), traced)
    return errors.IN_SYNC if traced.succeeds else errors.DRIFT


def _looked_up(kernel: AnyKernel, snapshot: Snapshot, senders: Iterable[Sender], destination: str) -> Snapshot:
    """A table too long to be read: the kernel is asked for each entry that decides, so that none is missed."""
    keys = {
        (sender.bridge, mac, vid)
        for sender in senders
        for mac in (sender.source, destination)
        for vid in (0, sender.vid, _pvid(snapshot, sender))
        if vid is not None and not is_group(mac)
    }
    return replace(snapshot, entries=snapshot.fdb.with_found(kernel.look_up(keys, snapshot)), listed=None)


def _pvid(snapshot: Snapshot, sender: Sender) -> int | None:
    port = snapshot.ports.get(sender.place)
    return port.pvid if port is not None else snapshot.bridges[sender.bridge].pvid


def _destination(arguments: argparse.Namespace) -> tuple[str, str]:
    """Returns the MAC, and the group if its IP address was given."""
    parser: argparse.ArgumentParser = arguments.parser
    try:
        if group := parse_group(arguments.to):
            return mac_of(group), group
        return parse_typed_destination(arguments.to), ""
    except ValueError as error:
        macs = [mac for guest in _guests(arguments) if arguments.to in (guest.domain, guest.port) for mac in guest.macs]
        meant = f"; {arguments.to!r} has {listed(macs)}" if macs else ""
        parser.error(f"argument --to: {error}{meant}")


def _guests(arguments: argparse.Namespace) -> Sequence[GuestPort]:
    """The guests' NICs of this host, if that can be read: it is only for a hint."""
    try:
        intent = host_of(arguments).read_intent()
    except MacmgrError:
        return ()
    return (*intent.ports, *intent.unplaced)


def _mac(text: str) -> str:
    """Returns the MAC, if the text is one; empty if it must be a name."""
    try:
        return parse_typed_destination(text)
    except ValueError:
        return ""


def _senders(arguments: argparse.Namespace, view: View, source: str, destination: str) -> list[Sender]:
    snapshot, intent, asked = view.snapshot, view.intent, arguments.sender
    if asked is None:
        if found := senders_to(snapshot, intent, destination):
            return found
        raise NotThere(_unknown(view, destination, "; with --from, see where a bridge floods it"))
    if found := senders_at(snapshot, intent, asked):
        return found
    if source and (is_group(source) or source == ZERO):
        arguments.parser.error(f"argument --from: {source} is no station's address: no frame comes from it")
    if source and (found := senders_with(snapshot, intent, source)):
        return found
    if source:
        raise NotThere(_unknown(view, source))
    ports = [guest.port for guest in intent.ports if guest.domain == asked and guest.port in snapshot.ports]
    if ports:
        raise NotThere(f"{asked!r} is a domain, no port; its frames come from {', '.join(ports)}")
    names = {*snapshot.ports, *snapshot.bridges, *(each.name for each in snapshot.stacked)}
    near = did_you_mean(asked, names) or did_you_mean(asked, {guest.domain for guest in intent.ports})
    raise NotThere(f"{asked!r} is not a bridge, a bridge port or a known MAC here{near}")


def _unknown(view: View, mac: str, hint: str = "") -> str:
    """Why nobody here is at an address."""
    for guest in view.intent.ports:
        if mac in guest.macs:
            return f"{mac} is {guest.domain}'s, but its port {guest.port or '(none)'} is not on {guest.bridge} here"
    for nic in view.intent.portless:
        if mac == nic.mac:
            return f"{mac} is {nic.domain}'s, which has no port on a Linux bridge here ({nic.why})"
    near = near_mac(mac, (each for guest in view.intent.ports for each in guest.macs))
    return f"no guest on a bridge here has {mac}, and no FDB entry{hint}{near}"


def _print(console: Console, traced: Traced) -> None:
    from rich.table import Table
    from rich.text import Text

    found = {traced.reached(way) for way in traced.traces}
    style = "green" if found == {True} else "red" if found == {False} else "yellow"
    for sentence in traced.verdicts:
        begun = sentence[0].upper() + sentence[1:] if sentence.startswith(_BEGINS) else sentence
        console.print(Text(unbroken(begun), style), soft_wrap=False)
    for note in traced.notes():
        console.print(Text(unbroken(note), "dim"), soft_wrap=False)
    for way in traced.traces:
        answer = way.answer
        title = Text(unbroken(answer.bridge), "bold")
        console.print(Text("\n") + title + Text(f", VLAN {answer.vid}" if answer.vid else ""))
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", max_width=max(console.width * 2 // 5, 20))
        table.add_column(overflow="fold")
        for label, who, what in traced.rows(way):
            table.add_row(f"  {label}", Text(unbroken(who)), Text(unbroken(what)))
        console.print(table, soft_wrap=False)
