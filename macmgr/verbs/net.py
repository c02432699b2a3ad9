"""`macmgr net get` and `net set` read and change a libvirt network's macTableManager, through libvirt.

libvirt keeps two forms of an active network. A new value goes into the persistent form and acts from the next start. A
NIC plugged after that start gets it; a NIC plugged now keeps the value that libvirt read when it was plugged
(networkAllocatePort in src/network/bridge_driver.c). So the answer includes what must be restarted.

That start has a price: libvirt turns VLAN filtering on for the bridge, without a check. `net set` says so, and who
would be cut off, before it changes anything.
"""

from __future__ import annotations

import argparse
import difflib
import json
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from macmgr import errors, virsh
from macmgr.config import Config, load_config
from macmgr.doctor.vlancheck import UNSEEN
from macmgr.errors import MacmgrError, NotThere
from macmgr.kernel import Kernel
from macmgr.model.intent import Manager
from macmgr.oneline import harmless, harmless_json, unbroken
from macmgr.options import MAC_TABLE_MANAGER
from macmgr.readers.document import read_with
from macmgr.readers.domain import Domain
from macmgr.readers.network import NO_TABLE, Network, read_network
from macmgr.sources.definition import has_bridge, with_manager, without_manager
from macmgr.sources.hypervisor import (
    Definition,
    Hypervisor,
    connect,
    define_network,
    read_definition,
    read_guests,
    read_sources,
)
from macmgr.vlanfiltering import cut_at_next_start
from macmgr.wanted import wanted


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `net set`, and what must be restarted until all of it acts.

    ``also_changed`` are the differences between the definition that libvirt got and the one it returns, as diff(1)
    lines, without the attribute.
    """

    network: Network
    was: Network
    active: Network | None
    restart_guests: tuple[str, ...] = ()
    also_changed: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return manager_of(self.was) is not manager_of(self.network)

    @property
    def restart_network(self) -> bool:
        return self.active is not None and manager_of(self.active) is not manager_of(self.network)


def get_manager(arguments: argparse.Namespace) -> int:
    """Print the manager of a network's MAC table; print both values if the network's two forms differ."""
    with connect(arguments.connect, read_only=True) as hypervisor:
        definition = read_definition(hypervisor, arguments.network)
    active, persistent = _network(definition.active), _network(definition.persistent)
    network = active or persistent
    if network is None or not _has_table(definition.active or definition.persistent, network):
        raise NotThere(_why_no_table(arguments.network, network))
    if arguments.format == "json":
        print(harmless_json(json.dumps(_get_document(network, active, persistent), indent=2, ensure_ascii=False)))
    else:
        lines = _get_lines(network, active, persistent, verbose=arguments.verbose)
        print(harmless("\n".join(map(unbroken, lines))))
    return errors.IN_SYNC


@dataclass(frozen=True, slots=True)
class Price:
    """What the next start of a network does to its bridge, which does not filter VLANs yet.

    ``cut`` has a sentence for each that would be cut off; None if the host cannot be asked, or has no such bridge.
    """

    bridge: str
    cut: tuple[str, ...] | None


def set_manager(arguments: argparse.Namespace) -> int:
    config = load_config(arguments.config)  # a mistake in it is reported before anything is changed
    manager = Manager(arguments.manager)
    said: list[Price] = []
    with connect(arguments.connect) as hypervisor:

        def before(network: Network) -> None:
            price = _price(hypervisor, network, config) if manager is Manager.LIBVIRT else None
            if price is None:
                return
            said.append(price)
            if arguments.format != "json":
                print(harmless("\n".join(map(unbroken, _price_lines(network, price)))), flush=True)

        report = change_manager(hypervisor, arguments.network, manager, before)
    if arguments.format == "json":
        filtering = {"turned_on_at_next_start": bool(said), "would_cut_off": said[0].cut if said else ()}
        observed = config.observes(report.network.bridge)
        document = {**_set_document(report), "observed": observed, "vlan_filtering": filtering}
        print(harmless_json(json.dumps(document, indent=2, ensure_ascii=False)))
    else:
        first = "; put right first what is named above" if said and said[0].cut else ""
        lines = _set_lines(report, first, observed=config.observes(report.network.bridge))
        print(harmless("\n".join(map(unbroken, lines))))
    return errors.DRIFT if report.also_changed else errors.IN_SYNC


def change_manager(
    hypervisor: Hypervisor, name: str, manager: Manager, before_it: Callable[[Network], None] = lambda _: None
) -> Report:
    """Sets the attribute and reads it back. NotThere: before any change if it cannot be set, after it if not kept.

    ``before_it`` is called once it can be set, before anything is changed.
    """
    before = read_definition(hypervisor, name)
    was = _network(before.persistent)
    if was is None:
        raise NotThere(_why_no_definition(before))
    if not _has_table(before.persistent, was):
        raise NotThere(_why_no_table(name, was))
    before_it(was)
    after, network = before, was
    if manager_of(was) is not manager:
        define_network(hypervisor, name, with_manager(before.persistent, manager))
        after = read_definition(hypervisor, name)
        network = _network(after.persistent) or was
        if manager_of(network) is not manager:
            raise NotThere(
                f"libvirt at {hypervisor.uri} took the definition of network {name!r} and did not keep "
                f"{MAC_TABLE_MANAGER}='{manager}', which it knows since 1.2.11"
            )
    return Report(
        network,
        was,
        _network(after.active),
        restart_guests=_restart_guests(read_guests(hypervisor), name, manager),
        also_changed=_differences(before.persistent, after.persistent),
    )


def manager_of(network: Network) -> Manager:
    """The effective value: without the attribute, libvirt leaves the bridge to the kernel."""
    return Manager(network.manager or Manager.KERNEL)


def _price(hypervisor: Hypervisor, network: Network, config: Config) -> Price | None:
    """Returns None if the bridge filters VLANs already. A bridge of libvirt's own is made anew by the start."""
    if network.forward != "bridge" or urlsplit(hypervisor.uri).hostname:
        return Price(network.bridge, None)
    try:
        with Kernel() as kernel:
            there = kernel.read_snapshot(()).bridges.get(network.bridge)
            if there is None or there.vlan_filtering:
                return Price(network.bridge, None) if there is None else None
            intent = wanted(read_sources(hypervisor), config)
            return Price(network.bridge, cut_at_next_start({network.bridge}, intent, kernel).get(network.bridge))
    except MacmgrError:
        return Price(network.bridge, None)  # what is not known is no reason to refuse


def _price_lines(network: Network, price: Price) -> Iterator[str]:
    where = f" for {price.bridge}" if price.bridge else ""
    yield f"When network {network.name!r} starts, libvirt turns VLAN filtering on{where}."
    if price.cut:
        yield f"That cuts off whoever does not fit it ('macmgr doctor {shlex.quote(price.bridge)}' says the same):"
        yield from (f"  {sentence}" for sentence in price.cut)
    elif price.cut is not None:
        yield "As far as this host shows, that cuts nobody off."
    if price.cut is not None:
        yield UNSEEN


def _network(text: str) -> Network | None:
    where = "the network's XML, as libvirt gives it"
    return read_with(read_network, text.encode(), where) if text else None


def _has_table(text: str, network: Network) -> bool:
    # A bridge without a name: forward mode 'bridge' over macvtap, where libvirt keeps the attribute to no effect.
    return (
        network.forward not in NO_TABLE and has_bridge(text) and (network.forward != "bridge" or network.bridge != "")
    )


def _why_no_table(name: str, network: Network | None) -> str:
    mode = network.forward if network else "unknown"
    return (
        f"network {name!r} has no bridge (forward mode {mode!r}), and so no MAC table to manage: libvirt has "
        f"{MAC_TABLE_MANAGER} only for networks with a <bridge name='…'/>"
    )


def _why_no_definition(definition: Definition) -> str:
    if definition.transient:
        return (
            f"network {definition.name!r} is transient: libvirt keeps no definition of it that could be changed; "
            f"make it persistent first: {virsh.keep_network(definition.name)}"
        )
    return (
        f"network {definition.name!r} is active, and this driver of libvirt does not show its definition meanwhile; "
        f"stop it first: {virsh.shown(virsh.stop_network(definition.name))}"
    )


def _restart_guests(guests: Iterable[Domain], name: str, manager: Manager) -> tuple[str, ...]:
    """Returns the running domains with a NIC on the network that was plugged with another value."""
    return tuple(
        sorted(
            guest.name
            for guest in guests
            if any(nic.network == name and (nic.manager or Manager.KERNEL) != manager for nic in guest.nics)
        )
    )


def _differences(before: str, after: str) -> tuple[str, ...]:
    one, other = without_manager(before).splitlines(), without_manager(after).splitlines()
    return tuple(line for line in difflib.ndiff(one, other) if line.startswith(("- ", "+ ")))


def _get_lines(network: Network, active: Network | None, persistent: Network | None, *, verbose: bool) -> Iterator[str]:
    manager = manager_of(network)
    if active and persistent and manager_of(active) is not manager_of(persistent):
        yield f"{manager:<7}  active, until the network is restarted{_by_default(active)}"
        yield f"{manager_of(persistent):<7}  persistent, from the next start on{_by_default(persistent)}"
    elif verbose:
        where = f"bridge {network.bridge}" if network.bridge else "a bridge without a name yet"
        yield f"{manager:<7}  network {network.name!r}, {where}{_by_default(network)}"
    else:
        yield str(manager)


def _by_default(network: Network) -> str:
    return "" if network.manager else f" (libvirt's default: its XML has no {MAC_TABLE_MANAGER})"


def _get_document(network: Network, active: Network | None, persistent: Network | None) -> dict[str, object]:
    def value(form: Network | None) -> dict[str, object] | None:
        return {"manager": str(manager_of(form)), "default": not form.manager} if form else None

    return {
        "version": 1,
        "network": network.name,
        "bridge": network.bridge,
        "manager": str(manager_of(network)),
        "active": value(active),
        "persistent": value(persistent),
    }


def _set_lines(report: Report, first: str, *, observed: bool = False) -> Iterator[str]:
    network, was, manager = report.network, report.was, manager_of(report.network)
    if not report.changed:
        yield f"network {network.name!r}: {MAC_TABLE_MANAGER} is {manager} already{_by_default(was)}"
    else:
        rest = "" if report.also_changed else "; nothing else in its definition has changed"
        yield f"network {network.name!r}: {MAC_TABLE_MANAGER} was {manager_of(was)}, is {manager}{rest}"
    if report.also_changed:
        yield "libvirt returns another definition than it was given:"
        yield from (f"  {line}" for line in report.also_changed)
    if report.restart_network:
        restart = virsh.shown(*virsh.restart_network(network.name))
        yield f"It takes effect when the network is restarted{first}: {restart}"
        if network.forward != "bridge":
            yield f"That deletes {network.bridge}, and cuts its guests off until their NICs are plugged again."
    if observed and manager is Manager.LIBVIRT and network.bridge:
        yield (
            f"macmgr only observes {network.bridge} and changes nothing there. libvirt itself does, from the network's "
            "start on: it puts an entry for each guest that starts."
        )
    if report.restart_guests:
        guests = ", ".join(report.restart_guests)
        yield f"Guests keep what libvirt read when their NICs were plugged; plug again, or restart: {guests}"


def _set_document(report: Report) -> dict[str, object]:
    return {
        "version": 1,
        "network": report.network.name,
        "bridge": report.network.bridge,
        "was": str(manager_of(report.was)),
        "manager": str(manager_of(report.network)),
        "changed": report.changed,
        "also_changed": list(report.also_changed),
        "restart_network": report.restart_network,
        "restart_guests": list(report.restart_guests),
    }
