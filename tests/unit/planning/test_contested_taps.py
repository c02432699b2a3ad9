"""A tap that several NICs name, and a host's interface that a domain names as its tap: told, and left as they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from lxml import etree

from macmgr.model.findings import Code
from macmgr.model.intent import Intent, Manager, Scope, Settings
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain, read_domain
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

WRITER = WriterLock()
OURS, EVIL = "52:54:00:aa:00:01", "52:54:00:bb:00:01"
LOCK = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' lock='yes'/></metadata>"
KERNELS = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' manager='kernel'/></metadata>"


def nic(mac: str, tap: str = "vnet1", bridge: str = "br0") -> str:
    target = f"<source bridge='{bridge}'/><target dev='{tap}'/>"
    return f"<interface type='bridge'><mac address='{mac}'/>{target}</interface>"


def domain(name: str, *nics: str, metadata: str = "", driver: str = "qemu", state: str = "running") -> Domain:
    devices = f"<devices>{''.join(nics)}</devices>"
    xml = f"<domain type='kvm'><name>{name}</name><uuid>u-{name}</uuid>{metadata}{devices}</domain>"
    return replace(read_domain(etree.fromstring(xml), driver), state=state)


def intent(*domains: Domain) -> Intent:
    return build_intent(domains, PolicySources([], {"br0": Settings(manager=Manager.LIBVIRT)}))


def host(ports: Iterable[BridgePort] = ()) -> Snapshot:
    uplink = BridgePort("eth0", 5, "br0", "02:e0:00:00:00:05", vids=(1,), pvid=1)
    tap = BridgePort("vnet1", 11, "br0", "fe:00:00:00:00:01", vids=(1,), pvid=1)
    bridges = [Bridge("br0", 1, "02:b0:00:00:00:00"), Bridge("br1", 2, "02:b0:00:00:00:01")]
    return make_snapshot(bridges, [uplink, tap, *ports])


G1 = domain("g1", nic(OURS))
CLAIMANTS = {
    "another domain": domain("evil", nic(EVIL), metadata=LOCK),
    "one that leaves it to the kernel": domain("evil", nic(EVIL), metadata=KERNELS),
    "one with the same address": domain("evil", nic(OURS)),
    "a container": domain("evil", nic(EVIL), driver="lxc"),
    "a container of the same name": domain("g1", nic(EVIL), driver="lxc"),
    "one that is about to start": domain("evil", nic(EVIL), state="starting"),
    "one that waits": domain("evil", nic(EVIL), state="paused"),
    "one that says it is on another bridge": domain("evil", nic(EVIL, bridge="br1")),
}


@pytest.mark.parametrize("managed", [True, False], ids=["managed before", "not yet"])
@pytest.mark.parametrize("who", CLAIMANTS)
def test_a_tap_that_two_domains_name_stays_as_it_is(who: str, managed: bool) -> None:
    kernel, notes = FakeKernel(host()), Notebook()
    if managed:
        assert apply(WRITER, lambda: intent(G1), kernel, notes=notes).done
    ports, fdb, memory = dict(kernel.ports), dict(kernel.fdb), notes.memory
    for order in ((G1, CLAIMANTS[who]), (CLAIMANTS[who], G1)):
        outcome = apply(WRITER, lambda order=order: intent(*order), kernel, notes=notes)  # type: ignore[misc]
        assert outcome.done == ()
        assert outcome.complete
        told = [finding for finding in outcome.view.plan.findings if finding.code is Code.SHARED_TAP]
        assert {finding.domain for finding in told} == {"g1", CLAIMANTS[who].name}
        assert all("vnet1 is named by NICs of" in each.message or "2 NICs of" in each.message for each in told)
    assert (kernel.ports, kernel.fdb) == (ports, fdb)
    assert notes.memory.ports == memory.ports
    # what it was before macmgr is known all the while
    assert apply(WRITER, lambda: intent(G1), kernel, notes=notes).complete
    assert release(WRITER, lambda: intent(G1), kernel, Scope(), notes).complete
    assert kernel.ports["vnet1"].flags == PortFlags()


def test_two_nics_of_one_domain_on_one_tap_are_no_better() -> None:
    kernel = FakeKernel(host())
    outcome = apply(WRITER, lambda: intent(domain("g1", nic(OURS), nic(EVIL))), kernel, notes=Notebook())
    assert outcome.done == ()
    told = [finding.message for finding in outcome.view.plan.findings if finding.code is Code.SHARED_TAP]
    assert len(told) == 2
    assert "2 NICs of g1" in told[0]


def test_where_nothing_is_managed_nobody_is_told() -> None:
    two = intent(domain("g1", nic(OURS), metadata=KERNELS), domain("evil", nic(EVIL), metadata=KERNELS))
    assert not two.findings


@pytest.mark.parametrize("kind", ["", "bond", "vlan", "vxlan", "dummy", "macvlan", "team", "gretap", "bridge"])
def test_an_interface_of_the_hosts_that_a_domain_names_stays_as_it_is(kind: str) -> None:
    there = BridgePort("up0", 7, "br0", "02:e0:00:00:00:07", vids=(1,), pvid=1, kind=kind)
    kernel, notes = FakeKernel(host([there])), Notebook()
    kernel.frame("up0", "02:00:00:00:00:fe", "ff:ff:ff:ff:ff:ff")
    ports, fdb = dict(kernel.ports), dict(kernel.fdb)
    evil = domain("evil", nic(EVIL, "up0"), metadata=LOCK)
    outcome = apply(WRITER, lambda: intent(evil), kernel, notes=notes)
    assert (outcome.done, outcome.complete) == ((), True)
    (told,) = (finding for finding in outcome.view.plan.findings if finding.code is Code.MISSING_PORT)
    assert (told.port, told.domain) == ("up0", "evil")
    assert f"is no tap ({kind or 'a physical interface'})" in told.message
    assert (kernel.ports, kernel.fdb, notes.memory.ports) == (ports, fdb, ())
    assert [nic.why for nic in outcome.view.intent.portless] == [
        f"the XML names up0 as its tap, but that is no tap ({kind or 'a physical interface'})"
    ]


@pytest.mark.parametrize("kind", ["tun", "veth"])
def test_a_tap_and_a_containers_cable_are_a_guests(kind: str) -> None:
    kernel = FakeKernel(host())
    kernel.ports["vnet1"] = replace(kernel.ports["vnet1"], kind=kind)
    assert apply(WRITER, lambda: intent(G1), kernel, notes=Notebook()).done
    assert kernel.fdb["br0", OURS, 1] == Entry(OURS, 1, "vnet1", sticky=True)
