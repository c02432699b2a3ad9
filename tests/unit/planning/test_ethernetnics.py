"""NICs whose XML names no bridge, type='ethernet': their taps are where the kernel says, and guests' like others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from macmgr.hook.work import concerns
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import Intent, Manager, Scope, Settings
from macmgr.model.kernelevents import LinkEvent
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain, read_domain
from macmgr.reconcile import apply, look
from macmgr.state.lock import WriterLock
from macmgr.watch.eventfilter import LastView
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

WRITER, MAC = WriterLock(), "52:54:00:aa:00:01"
CLOSED, OPEN = PortFlags(learning=False, unicast_flood=False), PortFlags()
OURS = Settings(manager=Manager.LIBVIRT)
SECTIONS = {"br0": OURS, "br-*": OURS}


def domain(
    name: str, tap: str = "tap9", mac: str = MAC, *, policy: str = "", state: str = "running", kind: str = "ethernet"
) -> Domain:
    metadata = f"<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' {policy}/></metadata>" if policy else ""
    source = "<source bridge='br0'/>" if kind == "bridge" else ""
    nic = f"<interface type='{kind}'>{source}<mac address='{mac}'/><target dev='{tap}' managed='no'/></interface>"
    xml = f"<domain type='kvm'><name>{name}</name><uuid>u-{name}</uuid>{metadata}<devices>{nic}</devices></domain>"
    return replace(read_domain(etree.fromstring(xml), name), state=state)


def intent(*domains: Domain, sections: dict[str, Settings] = SECTIONS, departed: tuple[Domain, ...] = ()) -> Intent:
    return build_intent(domains, PolicySources([], sections), departed=departed)


def kernel(*, on: str | None = "br0") -> FakeKernel:
    """br0, br-1 and br2 with an uplink each, and tap9."""
    bridges = [
        Bridge(name, number, f"02:b0:00:00:00:0{number}") for number, name in enumerate(("br0", "br-1", "br2"), 1)
    ]
    ports = [
        BridgePort(f"eth{each.ifindex}", 10 + each.ifindex, each.name, f"02:e0:00:00:00:0{each.ifindex}")
        for each in bridges
    ]
    made = FakeKernel(make_snapshot(bridges, [*ports, BridgePort("tap9", 20, on or "br0", "fe:00:00:00:00:09")]))
    if on is None:
        made.leave_bridge("tap9")
    return made


def is_managed(there: FakeKernel, bridge: str) -> bool:
    return there.fdb.get((bridge, MAC, 0)) == Entry(MAC, 0, "tap9", sticky=True) and there.ports["tap9"].flags == CLOSED


@pytest.mark.parametrize(
    ("bridge", "policy", "why"),
    [
        ("br0", "", '[bridge."br0"] in the configuration'),
        ("br-1", "", '[bridge."br-*"] in the configuration'),
        ("br2", "manager='libvirt'", "domain web: <macmgr:macTable>"),
    ],
)
def test_it_is_managed_where_its_tap_is(bridge: str, policy: str, why: str) -> None:
    """The FDB of a bridge that only a pattern or the domain's metadata manages is read too: nothing is left then."""
    there, notes = kernel(on=bridge), Notebook()
    there.set_entry(Entry("02:00:00:00:00:77", 0, "tap9"))  # an extra entry, which only a listed FDB shows
    outcome = apply(WRITER, lambda: intent(domain("web", policy=policy)), there, notes=notes)
    assert outcome.complete
    assert is_managed(there, bridge)
    assert (bridge, "02:00:00:00:00:77", 0) not in there.fdb
    assert outcome.view.intent.managed_bridges[bridge] == why
    assert [(port.bridge, port.policy.reason) for port in outcome.view.intent.ports] == [(bridge, why)]
    assert (outcome.view.intent.unplaced, outcome.view.intent.portless) == ((), ())


def test_two_of_one_domain_may_share_their_addresses_on_one_bridge() -> None:
    """Where they are decides, and that is known only by the kernel."""
    ends = ((f"<mac address='52:54:00:aa:00:0{n}'/>", f"<target dev='tap{n}' managed='no'/>") for n in (1, 2))
    nics = (f"<interface type='ethernet'>{mac}{target}</interface>" for mac, target in ends)
    metadata = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' allow='own'/></metadata>"
    xml = f"<domain type='kvm'><name>web</name><uuid>u</uuid>{metadata}<devices>{''.join(nics)}</devices></domain>"
    web = replace(read_domain(etree.fromstring(xml), "web"), state="running")
    for bridges, share in ((("br0", "br0"), True), (("br0", "br-1"), False)):
        there = kernel()
        for n, bridge in enumerate(bridges, 1):
            there.ports[f"tap{n}"] = BridgePort(f"tap{n}", 30 + n, bridge, f"fe:00:00:00:00:1{n}", kind="tun")
            there.masters[f"tap{n}"] = bridge
        ports = look(lambda: intent(web), there).intent.ports
        assert [bool(port.shared) for port in ports] == [share, share]


@pytest.mark.parametrize("state", ["running", "paused", "starting"])
@pytest.mark.parametrize(
    "policy", ["", "manager='kernel'", "lock='yes' pin='static'", "guestMac='ignore'", "manager='nonsense'"]
)
def test_it_is_treated_as_a_nic_whose_xml_names_the_bridge(policy: str, state: str) -> None:
    ethernet, bridge = (domain("web", policy=policy, state=state, kind=kind) for kind in ("ethernet", "bridge"))
    views = [look(lambda each=each: intent(each), kernel()) for each in (ethernet, bridge)]  # type: ignore[misc]
    one, other = ((view.plan, view.intent.ports[0].policy, view.intent.managed_bridges) for view in views)
    assert one == other


def test_on_a_bridge_that_nothing_manages_it_is_a_guests_and_left_to_the_kernel() -> None:
    there = kernel(on="br2")
    outcome = apply(WRITER, lambda: intent(domain("web")), there, notes=Notebook())
    assert outcome.done == ()
    assert [(port.port, port.bridge, port.managed) for port in outcome.view.intent.ports] == [("tap9", "br2", False)]


@pytest.mark.parametrize(
    ("tap", "why"),
    [("tap9", "its tap tap9 is on no bridge"), ("tap8", "its tap tap8 does not exist here")],
)
@pytest.mark.parametrize("policy", ["", "manager='libvirt'"])
def test_a_tap_on_no_bridge_is_said_and_no_error(tap: str, why: str, policy: str) -> None:
    view = look(lambda: intent(domain("web", tap, policy=policy)), kernel(on=None))
    assert view.intent.managed_bridges == {"br0": '[bridge."br0"] in the configuration'}
    assert view.plan.changes == ()
    assert not {each.severity for each in view.plan.findings} & {Severity.ERROR, Severity.WARNING}
    assert [(nic.domain, nic.kind, nic.why) for nic in view.intent.portless] == [("web", "ethernet", why)]


def test_a_tap_on_another_switch() -> None:
    there = kernel(on=None)
    there.masters["tap9"] = "ovs-system"
    view = look(lambda: intent(domain("web")), there)
    assert [nic.why for nic in view.intent.portless] == ["its tap tap9 is on ovs-system, which is no Linux bridge"]


def test_it_is_followed_to_another_bridge_and_back() -> None:
    there, notes = kernel(), Notebook()
    for bridge in ("br0", "br-1", "br2", "br0"):
        there.leave_bridge("tap9")
        there.ports["tap9"] = BridgePort("tap9", 20, bridge, "fe:00:00:00:00:09", kind="tun")
        there.masters["tap9"] = bridge
        assert apply(WRITER, lambda: intent(domain("web")), there, notes=notes).complete
        assert is_managed(there, bridge) is (bridge != "br2")
        assert {key[0] for key in there.fdb if key[1] == MAC} <= {bridge}


OTHERS = {
    "of type ethernet": domain("evil", mac="52:54:00:bb:00:01"),
    "its own other NIC": domain("web", mac="52:54:00:bb:00:01"),
}


@pytest.mark.parametrize("who", OTHERS)
def test_a_tap_that_two_name_stays_as_it_is(who: str) -> None:
    there = kernel()
    ports, fdb = dict(there.ports), dict(there.fdb)
    outcome = apply(WRITER, lambda: intent(domain("web"), OTHERS[who]), there, notes=Notebook())
    assert outcome.done == ()
    assert [each.code for each in outcome.view.plan.findings].count(Code.SHARED_TAP) == 2
    assert (there.ports, there.fdb) == (ports, fdb)


@pytest.mark.parametrize("bridge", ["br0", "br2"])
def test_a_tap_that_a_nic_of_a_bridge_names_too(bridge: str) -> None:
    xml = (
        "<domain type='kvm'><name>evil</name><uuid>u</uuid><devices><interface type='bridge'>"
        f"<mac address='52:54:00:bb:00:01'/><source bridge='{bridge}'/><target dev='tap9'/>"
        "</interface></devices></domain>"
    )
    evil = replace(read_domain(etree.fromstring(xml), "evil"), state="running")
    there = kernel()
    outcome = apply(WRITER, lambda: intent(evil, domain("web")), there, notes=Notebook())
    assert outcome.done == ()
    told = [each.domain for each in outcome.view.plan.findings if each.code is Code.SHARED_TAP]
    assert sorted(filter(None, told)) == ["evil", "web"]


@pytest.mark.parametrize("kind", ["", "bond", "vlan", "vxlan", "macvlan", "veth"])
def test_an_uplink_that_it_names_stays_as_it_is(kind: str) -> None:
    """A veth too: QEMU has a tap, and a cable to another bridge is an uplink."""
    there = kernel()
    there.ports["eth1"] = replace(there.ports["eth1"], kind=kind)
    ports, fdb = dict(there.ports), dict(there.fdb)
    outcome = apply(WRITER, lambda: intent(domain("evil", "eth1", policy="lock='yes'")), there, notes=Notebook())
    assert outcome.done == ()
    assert [each.code for each in outcome.view.plan.findings].count(Code.MISSING_PORT) == 1
    assert (there.ports, there.fdb) == (ports, fdb)


@pytest.mark.parametrize(("bridge", "policy"), [("br0", ""), ("br-1", ""), ("br2", "manager='libvirt'")])
@pytest.mark.parametrize("known", ["by a hook", "by its tap, which nobody has open"])
def test_a_guest_that_is_gone_leaves_no_entry_on_a_tap_that_stays(known: str, bridge: str, policy: str) -> None:
    """Its address is to be reached where it runs next: a sticky entry here would lead to nobody."""
    there, notes, web = kernel(on=bridge), Notebook(), domain("web", policy=policy)
    assert apply(WRITER, lambda: intent(web), there, notes=notes).complete
    assert is_managed(there, bridge)
    departed = (web,) if known == "by a hook" else ()
    if not departed:
        there.ports["tap9"] = replace(there.ports["tap9"], relay=replace(there.ports["tap9"].relay, carrier=False))
    found = look(
        lambda: intent(departed=departed),
        there,
        known=replace(look(lambda: Intent(), there).known, memory=notes.memory),
    )
    assert {each.code for each in found.plan.findings} >= {Code.NOT_GIVEN_BACK, Code.STALE_ENTRY}
    assert apply(WRITER, lambda: intent(departed=departed), there, notes=notes).complete
    assert not [key for key in there.fdb if key[1] == MAC]
    assert there.ports["tap9"].flags == OPEN
    assert notes.memory.ports == ()


def test_a_tap_that_somebody_has_open_stays_as_it_is_whatever_the_files_say() -> None:
    """They may be another libvirt's."""
    there, notes = kernel(), Notebook()
    assert apply(WRITER, lambda: intent(domain("web")), there, notes=notes).complete
    assert apply(WRITER, intent, there, notes=notes).done == ()
    assert is_managed(there, "br0")


def test_a_hook_looks_only_if_something_may_manage_it() -> None:
    scope = Scope("web")
    assert concerns(intent(domain("web")), scope)
    assert concerns(intent(domain("web", policy="manager='libvirt'"), sections={}), scope)
    assert not concerns(intent(domain("web"), sections={}), scope)
    assert not concerns(intent(domain("db")), scope)


def tap_on(master: int) -> LinkEvent:
    return LinkEvent(20, "tap9", False, master, "tun", True, OPEN, None, None, False)


@pytest.mark.parametrize("bridge", ["br0", "br-1", "br2"])
def test_the_daemon_hears_that_the_tap_has_come(bridge: str) -> None:
    """Also onto a bridge that a pattern, or the domain's metadata, manages only from then on."""
    there = kernel(on=None)
    last = LastView(look(lambda: intent(domain("web", policy="manager='libvirt'" * (bridge == "br2"))), there))
    assert last.news_in(tap_on(there.bridges[bridge].ifindex)) == f"tap9 joined {bridge}"


def test_the_daemon_hears_that_it_went_to_another_bridge() -> None:
    last = LastView(look(lambda: intent(domain("web")), kernel()))
    assert last.news_in(tap_on(2)) == "tap9 left br0"
