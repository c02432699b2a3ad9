"""`virsh net-define` is all that a user has to write: what libvirt keeps of it, when it acts, and what macmgr says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.test_lxc import CONTAINER
from tests.lab.topology import Guest, HostBridge, Libvirt, Network, Nic, run

NAMESPACE = "urn:macmgr:mactable:1"
POLICY = f"""  <metadata>
    <macmgr:macTable xmlns:macmgr='{NAMESPACE}'>
      <macmgr:portgroup name='guests' manager='kernel'/>
    </macmgr:macTable>
  </metadata>
  <portgroup name='staff' default='yes'/>
  <portgroup name='guests'/>
"""
STAFF = Nic("52:54:00:aa:00:51", network="office")
GUESTS = Nic("52:54:00:aa:00:52", network="office", portgroup="guests")
PLAIN = Nic("52:54:00:aa:00:53", bridge="br0")


@pytest.fixture
def office(libvirt: Libvirt, bridge: HostBridge) -> Iterator[Network]:
    """An active network "office" on br0 with the attribute, and with policy for one of its two portgroups."""
    network = Network.on_host_bridge(libvirt, "office", bridge.name, inside=POLICY).define().start()
    yield network
    network.undefine()


def _definition(libvirt: Libvirt, name: str = "office") -> str:
    return libvirt.virsh("net-dumpxml", "--inactive", name).stdout


def _policies(macmgr: Macmgr) -> dict[str, tuple[str, str]]:
    """Who manages the port of each MAC, and why."""
    ports = [port for bridge in macmgr.audit()["bridges"] for port in bridge["ports"]]
    return {port["macs"][0]: (port["manager"], port["reason"]) for port in ports if port["domain"]}


def _waiting(macmgr: Macmgr, *words: str) -> list[str]:
    """What the audit says to take effect later only."""
    findings = json.loads(macmgr("audit", "--json", *words, expect=None).stdout)["findings"]
    return [
        finding["message"]
        for finding in findings
        if finding["code"] == "conflicting-settings" and "takes effect at the next start" in finding["message"]
    ]


def _set(macmgr: Macmgr, manager: str) -> dict[str, object]:
    return dict(json.loads(macmgr("net", "set", "office", manager, "--json").stdout))


def _said(macmgr: Macmgr, *words: str) -> str:
    return macmgr(*words).stdout.decode()


def test_what_is_defined_is_kept(libvirt: Libvirt, bridge: HostBridge, macmgr: Macmgr, tmp_path: Path) -> None:
    """Attribute, portgroups and metadata; redefined without the attribute, the network is the kernel's."""
    network = Network.on_host_bridge(libvirt, "kept", bridge.name, inside=POLICY).define()
    try:
        kept = _definition(libvirt, "kept")
        assert "<bridge name='br0' macTableManager='libvirt'/>" in kept
        assert '<macmgr:portgroup name="guests" manager="kernel"/>' in kept
        file = tmp_path / "kept.xml"
        file.write_text(kept)
        assert "understood" in _said(macmgr, "validate", str(file))
        assert _said(macmgr, "net", "get", "kept") == "libvirt\n"
        uuid = next(line for line in kept.splitlines() if "<uuid>" in line)
        Network(libvirt, "kept", kept.replace(" macTableManager='libvirt'", "")).define()
        assert _said(macmgr, "net", "get", "kept") == "kernel\n"
        assert uuid in _definition(libvirt, "kept")
    finally:
        network.undefine()


def test_a_misspelt_attribute_is_dropped_in_silence(
    libvirt: Libvirt, bridge: HostBridge, macmgr: Macmgr, tmp_path: Path
) -> None:
    """net-define says nothing; --validate refuses without a word on what was meant; macmgr validate says it."""
    network = Network.on_host_bridge(libvirt, "typo", bridge.name)
    network.xml = network.xml.replace("macTableManager", "macTableManger")
    try:
        network.define()
        assert "macTable" not in _definition(libvirt, "typo")
        file = tmp_path / "typo.xml"
        file.write_text(network.xml)
        refused = libvirt.virsh("net-define", "--validate", str(file), check=False)
        assert refused.returncode != 0
        assert "macTableManager" not in refused.stderr
        told = macmgr("validate", str(file), expect=65).stdout.decode()
        assert "did you mean 'macTableManager'?" in told
    finally:
        network.undefine()


def test_policy_in_the_metadata_holds_for_the_guest_that_runs(
    office: Network,
    network: Network,
    libvirt: Libvirt,
    bridge: HostBridge,
    make_guest: MakeGuest,
    macmgr: Macmgr,
) -> None:
    """Of the network, for a portgroup's NICs; of the domain, at once; by status files and by libvirt's API alike.

    libvirt knows nothing of our metadata: it closes the port of a portgroup that we leave to the kernel all the same.
    """
    guest = make_guest(1, [STAFF, GUESTS, PLAIN]).start()
    paused = make_guest(2).start(paused=True)
    container = Path("/run/lab/c1.xml")
    container.write_text(CONTAINER)
    run("virsh", "-c", "lxc:///system", "create", str(container))
    try:
        policies = _policies(macmgr)
        assert policies[STAFF.mac] == ("libvirt", "network office: macTableManager")
        assert policies[GUESTS.mac] == ("kernel", "network office: <macmgr:portgroup name='guests'>")
        assert policies[PLAIN.mac] == ("libvirt", '[bridge."br0"] in the configuration')
        assert not bridge.flags(guest.tap(GUESTS.mac))["learning"]
        _both_sources_agree(macmgr)

        _metadata(libvirt, guest, "--set", f"<macTable><interface mac='{STAFF.mac}' manager='kernel'/></macTable>")
        reason = f"domain g1: <macmgr:interface mac='{STAFF.mac}'>"
        assert _policies(macmgr)[STAFF.mac] == ("kernel", reason)
        assert _policies(macmgr)[PLAIN.mac][0] == "libvirt"
        _both_sources_agree(macmgr)
        _metadata(libvirt, guest, "--remove")
        assert _policies(macmgr) == policies

        macmgr("apply", "--source", "libvirt")
        assert macmgr.codes() == set()
        assert paused.state == "paused"
    finally:
        run("virsh", "-c", "lxc:///system", "destroy", "c1")


def test_a_mistake_in_the_metadata_of_a_guest_that_runs_leaves_its_ports_as_they_are(
    libvirt: Libvirt, bridge: HostBridge, network: Network, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """It is told with the command that mends it while the guest runs, and that command does."""
    guest = make_guest(1).start()
    macmgr("apply")
    _metadata(libvirt, guest, "--set", "<macTable lokc='yes'/>")
    tap = guest.tap(guest.nics[0].mac)
    before = _closed(bridge, tap)
    (finding,) = [each for each in macmgr.audit()["findings"] if each["code"] == "unreadable-xml"]
    assert "did you mean 'lock'?; until that is fixed, the ports of g1 are left as they are" in finding["message"]
    macmgr("apply", expect=1)  # an error is left
    assert _closed(bridge, tap) == before == (False, False, False)
    assert "the port is left as it is" in _said(macmgr, "explain", "g1")

    run("env", "-u", "VISUAL", "EDITOR=sed -i s/lokc/lock/", "sh", "-c", finding["fix"])
    assert macmgr.codes() == {"unlocked"}
    macmgr("apply")
    assert bridge.flags(tap)["locked"]


def _closed(bridge: HostBridge, tap: str) -> tuple[object, ...]:
    flags = bridge.flags(tap)
    return tuple(flags[name] for name in ("learning", "flood", "locked"))


def _metadata(libvirt: Libvirt, guest: Guest, *what: str) -> None:
    libvirt.virsh("metadata", guest.name, "--live", "--uri", NAMESPACE, "--key", "macmgr", *what)


def _both_sources_agree(macmgr: Macmgr) -> None:
    documents = []
    for source in ("status", "libvirt"):
        document = json.loads(macmgr("audit", "--json", "--source", source, expect=None).stdout)
        del document["taken_at"]
        documents.append(document)
    assert documents[0] == documents[1]


def test_what_is_changed_under_an_active_network_waits_for_its_restart(
    office: Network, libvirt: Libvirt, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """net-edit and macmgr net set: audit says so, nothing else of the definition changes, and the guests are named."""
    guest = make_guest(1, [STAFF]).start()
    before = _definition(libvirt)
    assert _waiting(macmgr) == []

    run("env", "EDITOR=sed -i s/Manager=.libvirt./Manager=\\'kernel\\'/", "virsh", "net-edit", "office")
    waits = (
        "network office is active with macTableManager libvirt, but its definition says kernel: the definition "
        "takes effect at the next start"
    )
    assert _waiting(macmgr) == _waiting(macmgr, "--source", "libvirt") == [waits]
    assert _said(macmgr, "net", "get", "office").splitlines() == [
        "libvirt  active, until the network is restarted",
        "kernel   persistent, from the next start on",
    ]
    assert _policies(macmgr)[STAFF.mac][0] == "libvirt"

    back = _set(macmgr, "libvirt")
    assert (back["changed"], back["restart_network"], back["restart_guests"]) == (True, False, [])
    assert _definition(libvirt) == before
    changed = _set(macmgr, "kernel")
    assert (changed["restart_network"], changed["restart_guests"], changed["also_changed"]) == (True, ["g1"], [])
    assert _definition(libvirt) == before.replace("macTableManager='libvirt'", "macTableManager='kernel'")
    assert _waiting(macmgr) == [waits]

    office.destroy()
    office.start()
    assert _waiting(macmgr) == []
    assert _said(macmgr, "net", "get", "office") == "kernel\n"
    # the tap stayed on the host's bridge, and is what it was when it was plugged
    assert _policies(macmgr)[STAFF.mac][0] == "libvirt"
    assert not bridge.flags(guest.tap())["learning"]
    assert _set(macmgr, "kernel")["restart_guests"] == ["g1"]
    guest.destroy()
    guest.start()
    assert _policies(macmgr)[STAFF.mac][0] == "kernel"
    assert bridge.flags(guest.tap())["learning"]
    assert _set(macmgr, "kernel")["restart_guests"] == []


def test_policy_for_a_portgroup_waits_too(office: Network, libvirt: Libvirt, macmgr: Macmgr) -> None:
    """libvirt 9.0.0 has no net-metadata (9.7.0 does): policy is redefined, and acts at the next start."""
    Network(libvirt, "office", _definition(libvirt).replace('manager="kernel"', 'lock="yes"')).define()
    (message,) = _waiting(macmgr)
    assert "other policy for its portgroups" in message
    assert _waiting(macmgr, "--source", "libvirt") == [message]
    office.destroy()
    office.start()
    assert _waiting(macmgr) == []


def test_a_network_that_is_not_defined_is_refused(libvirt: Libvirt, macmgr: Macmgr) -> None:
    """A transient network, as net-create makes it."""
    path = Path("/run/lab/passing.xml")
    path.write_text("<network><name>passing</name><forward mode='bridge'/><bridge name='br0'/></network>")
    libvirt.virsh("net-create", str(path))
    try:
        refused = macmgr("net", "set", "passing", "libvirt", expect=69).stderr.decode()
        assert "is transient" in refused
        assert refused.count("\n") == 1
        # what that line says to do: with its uuid, the network becomes persistent
        path.write_text(libvirt.virsh("net-dumpxml", "passing").stdout)
        libvirt.virsh("net-define", str(path))
        macmgr("net", "set", "passing", "libvirt")
    finally:
        Network(libvirt, "passing", "").undefine()


def test_without_a_daemon_one_line_says_so(libvirt: Libvirt, macmgr: Macmgr) -> None:
    libvirt.stop()
    try:
        for words in (["net", "get", "lan"], ["net", "set", "lan", "kernel"], ["audit", "--source", "libvirt"]):
            refused = macmgr(*words, expect=69).stderr.decode()
            assert refused.startswith("macmgr: libvirt at qemu:///system: cannot connect: ")
            assert refused.count("\n") == 1
    finally:
        libvirt.start()


def test_the_price_is_told_before_the_network_starts(libvirt: Libvirt, macmgr: Macmgr) -> None:
    """The definition has the attribute, and the bridge does not filter yet. libvirt's start proves what was said."""
    run("ip", "link", "add", "br7", "type", "bridge")
    run("ip", "link", "add", "link", "br7", "name", "br7.5", "type", "vlan", "id", "5")
    network = Network.on_host_bridge(libvirt, "later", "br7").define()

    def foreseen(*words: str) -> list[str]:
        found = json.loads(macmgr("audit", "--json", *words, expect=None).stdout)["findings"]
        return [each["message"] for each in found if each["code"] == "filtering-at-next-start"]

    def filters() -> bool:
        (link,) = json.loads(run("ip", "-j", "-d", "link", "show", "br7").stdout)
        return bool(link["linkinfo"]["info_data"]["vlan_filtering"])

    try:
        (message,) = foreseen()
        assert message.startswith(
            "when network later starts, libvirt turns VLAN filtering on for br7. br7.5 (VLAN 5 on "
        )
        assert foreseen("--source", "libvirt") == [message]
        said = _said(macmgr, "net", "set", "later", "libvirt")
        assert said.startswith("When network 'later' starts, libvirt turns VLAN filtering on for br7.\n")
        assert "  br7.5 (VLAN 5 on br7) would be cut off, because br7 itself does not carry VID 5;" in said
        assert not filters()
        network.start()
        assert filters()
        assert foreseen() == []
        assert "VLAN filtering" not in _said(macmgr, "net", "set", "later", "libvirt")
    finally:
        network.undefine()
        run("ip", "link", "delete", "br7")
