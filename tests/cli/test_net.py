"""`macmgr net get` and `net set` from the command line, on libvirt's test driver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr.cli import run
from macmgr.doctor.vlancheck import UNSEEN
from macmgr.model.snapshot import Bridge, BridgePort, PortFlags
from macmgr.sources.definition import without_manager
from macmgr.sources.hypervisor import Definition, Hypervisor, define_network
from macmgr.verbs import net as netverbs
from tests.fake_kernel import FakeKernel, make_snapshot

libvirt = pytest.importorskip("libvirt")

URI = "test:///default"  # one host for all connections of a process, as long as one of them is open
LAN = """<network>
  <name>{name}</name>
  <uuid>6e3f4ec0-0000-4000-8000-00000000000{digit}</uuid>
  <metadata>
    <macmgr:macTable xmlns:macmgr="urn:macmgr:mactable:1"><macmgr:portgroup name="staff" pin="static"/>
      <!-- <bridge name='br9'/> --></macmgr:macTable>
  </metadata>
  <forward mode='bridge'/>
  <bridge name='br0'{attribute}/>
  <portgroup name='staff' default='yes'/>
</network>
"""


WHEN = "When network 'lan' starts, libvirt turns VLAN filtering on for br0.\n"


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """The kernel that `net set` looks at: without a bridge, where a test makes none."""
    made = Kernel()
    monkeypatch.setattr(netverbs, "Kernel", lambda: made)
    return made


class Kernel(FakeKernel):
    def __init__(self) -> None:
        super().__init__(make_snapshot([], []))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def connection() -> Iterator[Any]:
    """The test driver's host, with the inactive network "lan" and without a word on who manages it."""
    connection = libvirt.open(URI)
    connection.networkDefineXML(LAN.format(name="lan", digit=1, attribute=""))
    yield connection
    connection.close()


def definition(connection: Any, name: str = "lan") -> str:
    return str(connection.networkLookupByName(name).XMLDesc(0))


def said(capsys: pytest.CaptureFixture[str], *words: str, expect: int = 0) -> str:
    """What a call prints, on stdout when it ends well and on stderr otherwise, where it is one line."""
    assert run(["net", *words, "--connect", URI]) == expect
    out, err = capsys.readouterr()
    if expect in (0, 1):
        assert err == ""
        return out
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_get_is_one_word(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "get", "lan") == "kernel\n"
    assert said(capsys, "get", "lan", "-v") == (
        "kernel   network 'lan', bridge br0 (libvirt's default: its XML has no macTableManager)\n"
    )
    said(capsys, "set", "lan", "libvirt")
    assert said(capsys, "get", "lan") == "libvirt\n"
    assert said(capsys, "get", "-v", "lan") == "libvirt  network 'lan', bridge br0\n"


def test_get_as_json(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(capsys, "get", "lan", "--json")) == {
        "version": 1,
        "network": "lan",
        "bridge": "br0",
        "manager": "kernel",
        "active": None,
        "persistent": {"manager": "kernel", "default": True},
    }


def test_set_changes_the_attribute_and_no_other_byte(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Added, changed, changed back: metadata, comment and portgroup stay as libvirt had them."""
    before = definition(connection)
    assert said(capsys, "set", "lan", "libvirt") == (
        WHEN + "network 'lan': macTableManager was kernel, is libvirt; nothing else in its definition has changed\n"
    )
    assert definition(connection) == before.replace(
        "<bridge name='br0'/>\n", "<bridge name='br0' macTableManager='libvirt'/>\n"
    )
    assert said(capsys, "set", "lan", "kernel") == (
        "network 'lan': macTableManager was libvirt, is kernel; nothing else in its definition has changed\n"
    )
    assert without_manager(definition(connection)) == before
    assert "macTableManager='kernel'" in definition(connection)


def test_what_is_so_already_is_not_defined_again(
    connection: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netverbs, "define_network", None)
    assert said(capsys, "set", "lan", "kernel") == (
        "network 'lan': macTableManager is kernel already (libvirt's default: its XML has no macTableManager)\n"
    )


def test_set_names_the_guests_that_keep_the_old_value(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Those with a NIC on this network: not the one on another."""
    for name, network in (("web2", "lan"), ("web1", "lan"), ("db1", "other")):
        connection.createXML(
            f"""<domain type='test'><name>{name}</name><memory>1000</memory><os><type>hvm</type></os><devices>
            <interface type='network'><source network='{network}'/></interface></devices></domain>"""
        )
    document = json.loads(said(capsys, "set", "lan", "libvirt", "--json"))
    assert document == {
        "version": 1,
        "network": "lan",
        "bridge": "br0",
        "was": "kernel",
        "manager": "libvirt",
        "changed": True,
        "also_changed": [],
        "restart_network": False,
        "restart_guests": ["web1", "web2"],
        "observed": False,
        "vlan_filtering": {"turned_on_at_next_start": True, "would_cut_off": None},
    }
    assert said(capsys, "set", "lan", "libvirt").splitlines() == [
        WHEN.strip(),
        "network 'lan': macTableManager is libvirt already",
        "Guests keep what libvirt read when their NICs were plugged; plug again, or restart: web1, web2",
    ]
    assert said(capsys, "set", "lan", "kernel").count("\n") == 1  # that is what their NICs have


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        ("<forward mode='passthrough'><interface dev='eth0'/></forward>", "forward mode 'passthrough'"),
        ("<forward mode='private'><interface dev='eth0'/></forward>", "forward mode 'private'"),
        ("<forward mode='vepa'><interface dev='eth0'/></forward>", "forward mode 'vepa'"),
        ("<forward mode='hostdev'><pf dev='eth0'/></forward>", "forward mode 'hostdev'"),
        ("<forward mode='bridge'><interface dev='eth0'/></forward>", "forward mode 'bridge'"),
        ("<forward mode='bridge'><interface dev='eth0'/></forward><bridge macTableManager='kernel'/>", "mode 'bridge'"),
    ],
)
@pytest.mark.parametrize("words", [("set", "macvtap", "libvirt"), ("get", "macvtap")])
def test_a_network_without_a_bridge_is_refused(
    forward: str, why: str, words: tuple[str, ...], connection: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """libvirt has the attribute for none of these, and keeps it in the last one for nothing."""
    connection.networkDefineXML(f"<network><name>macvtap</name>{forward}</network>")
    before = definition(connection, "macvtap")
    message = said(capsys, *words, expect=69)
    assert why in message
    assert message.startswith("macmgr: network 'macvtap' has no bridge")
    assert definition(connection, "macvtap") == before


def test_a_transient_network_is_refused_with_what_to_do(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    connection.networkCreateXML(LAN.format(name="right now", digit=2, attribute=""))
    assert said(capsys, "set", "right now", "libvirt", expect=69) == (
        "macmgr: network 'right now' is transient: libvirt keeps no definition of it that could be changed; make it "
        "persistent first: virsh net-dumpxml 'right now' > net.xml && virsh net-define net.xml\n"
    )
    assert said(capsys, "get", "right now") == "kernel\n"


def test_an_active_network_of_the_test_driver_is_refused(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    connection.networkLookupByName("lan").create()
    assert "stop it first: virsh net-destroy lan" in said(capsys, "set", "lan", "libvirt", expect=69)


def test_an_unknown_network_and_a_wrong_word(connection: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "see 'virsh net-list --all'; did you mean 'lan'?" in said(capsys, "get", "lam", expect=69)
    assert run(["net", "set", "lan", "libvrt"]) == 2
    assert "invalid choice: 'libvrt'" in capsys.readouterr().err


ACTIVE = LAN.format(name="lan", digit=1, attribute=" macTableManager='libvirt'")


def both_forms(name: str = "lan", forward: str = "bridge") -> Definition:
    """What a real daemon shows after net-edit of an active network (tests/lab/test_net_define.py)."""
    forward_mode = ACTIVE.replace("mode='bridge'", f"mode='{forward}'")
    return Definition(name, forward_mode, without_manager(forward_mode), transient=False)


def test_both_values_are_told_where_they_differ(
    connection: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netverbs, "read_definition", lambda *_: both_forms())
    assert said(capsys, "get", "lan").splitlines() == [
        "libvirt  active, until the network is restarted",
        "kernel   persistent, from the next start on (libvirt's default: its XML has no macTableManager)",
    ]
    document = json.loads(said(capsys, "get", "lan", "--json"))
    assert document["manager"] == "libvirt"
    assert document["active"] == {"manager": "libvirt", "default": False}
    assert document["persistent"] == {"manager": "kernel", "default": True}


@pytest.mark.parametrize(
    ("forward", "cuts"),
    [("bridge", []), ("nat", ["That deletes br0, and cuts its guests off until their NICs are plugged again."])],
)
def test_an_active_network_has_to_be_restarted(
    forward: str,
    cuts: list[str],
    connection: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which on a bridge of libvirt's own costs the guests their connection."""
    monkeypatch.setattr(netverbs, "read_definition", lambda *_: both_forms(forward=forward))
    assert said(capsys, "set", "lan", "kernel").splitlines() == [
        "network 'lan': macTableManager is kernel already (libvirt's default: its XML has no macTableManager)",
        "It takes effect when the network is restarted: virsh net-destroy lan && virsh net-start lan",
        *cuts,
    ]


def test_what_libvirt_changes_besides_is_shown(
    connection: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A libvirt that drops what it does not know any more: exit code 1, with the lines in question."""

    def define(hypervisor: Hypervisor, name: str, text: str) -> None:
        hypervisor.connection.networkDefineXML(text.replace(" default='yes'", ""))

    monkeypatch.setattr(netverbs, "define_network", define)
    lines = said(capsys, "set", "lan", "libvirt", expect=1).removeprefix(WHEN).splitlines()
    assert lines[0] == "network 'lan': macTableManager was kernel, is libvirt"
    assert lines[1] == "libvirt returns another definition than it was given:"
    assert [line[:4] for line in lines[2:]] == ["  - ", "  + "]
    assert "default='yes'" in lines[2]
    assert "default='yes'" not in lines[3]


def test_a_libvirt_that_does_not_keep_the_attribute_is_told(
    connection: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netverbs, "define_network", lambda *_: None)
    assert run(["net", "set", "lan", "libvirt", "--connect", URI]) == 69
    out, err = capsys.readouterr()
    assert out == WHEN
    assert "did not keep macTableManager='libvirt', which it knows since 1.2.11" in err


def test_on_a_bridge_that_is_only_observed_it_says_what_libvirt_does(
    connection: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It changes a definition of libvirt's and no bridge; but libvirt acts on it, and that is to be known before."""
    config = tmp_path / "macmgr.toml"
    config.write_text('[defaults]\nmode = "observe"\n')
    assert said(capsys, "set", "lan", "libvirt", "--config", str(config)).splitlines()[2] == (
        "macmgr only observes br0 and changes nothing there. libvirt itself does, from the network's start on: it puts "
        "an entry for each guest that starts."
    )
    assert json.loads(said(capsys, "set", "lan", "libvirt", "--config", str(config), "--json"))["observed"] is True
    assert said(capsys, "set", "lan", "kernel", "--config", str(config)).count("\n") == 1
    config.write_text('[defaults]\nmode = "observe"\n[bridge.br0]\nmode = "manage"\n')
    assert said(capsys, "set", "lan", "libvirt", "--config", str(config)).count("\n") == 2
    config.write_text("mode = 1\n")
    assert run(["net", "set", "lan", "kernel", "--connect", URI, "--config", str(config)]) == 78
    assert "macTableManager='libvirt'" in definition(connection), "nothing is changed"


# The price: VLAN filtering


def guest(connection: Any, name: str) -> str:
    """A guest on br0; the name that the test driver gives its tap."""
    domain = connection.createXML(
        f"""<domain type='test'><name>{name}</name><memory>1000</memory><os><type>hvm</type></os><devices>
        <interface type='bridge'><source bridge='br0'/></interface></devices></domain>"""
    )
    return str(re.findall("<target dev='(.*)'", domain.XMLDesc(0))[0])


def plug(kernel: Kernel, *, vids: dict[str, int], filtering: bool = False) -> None:
    """br0 as it is without VLAN filtering: each port has the VIDs that somebody gave it, and nobody heeds them."""
    bridge = Bridge("br0", 1, "02:00:00:00:00:b0", filtering, vids=(1,), pvid=1, untagged=(1,))
    kernel.bridges["br0"] = bridge
    for number, (name, vid) in enumerate(vids.items(), 10):
        mac, kind = f"02:00:00:00:00:{number}", "" if name == "eth0" else "tun"
        port = BridgePort(name, number, "br0", mac, PortFlags(), (vid,), vid, kind=kind, untagged=(vid,))
        kernel.ports[name], kernel.masters[name] = port, "br0"


def test_who_would_be_cut_off_is_said_before_anything_is_changed(
    connection: Any, kernel: Kernel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = guest(connection, "web1"), guest(connection, "web2")
    plug(kernel, vids={"eth0": 1, first: 1, second: 30})
    said_by_then: list[str] = []
    define = define_network

    def watched(*words: Any) -> None:
        said_by_then.append(capsys.readouterr().out)
        define(*words)

    monkeypatch.setattr(netverbs, "define_network", watched)
    assert said(capsys, "set", "lan", "libvirt").startswith("network 'lan': macTableManager was kernel, is libvirt;")
    assert said_by_then[0].splitlines() == [
        WHEN.strip(),
        "That cuts off whoever does not fit it ('macmgr doctor br0' says the same):",
        f"  {second} of web2 has PVID 30 and eth0 has PVID 1: their frames would not meet again.",
        UNSEEN,
    ]


def test_that_nobody_would_be_cut_off_is_said_too(
    connection: Any, kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    plug(kernel, vids={"eth0": 1, guest(connection, "web1"): 1})
    lines = said(capsys, "set", "lan", "libvirt").splitlines()
    assert lines[:3] == [WHEN.strip(), "As far as this host shows, that cuts nobody off.", UNSEEN]
    assert json.loads(said(capsys, "set", "lan", "libvirt", "--json"))["vlan_filtering"] == {
        "turned_on_at_next_start": True,
        "would_cut_off": [],
    }


def test_a_bridge_that_filters_already_costs_nothing(
    connection: Any, kernel: Kernel, capsys: pytest.CaptureFixture[str]
) -> None:
    plug(kernel, vids={"eth0": 1}, filtering=True)
    assert said(capsys, "set", "lan", "libvirt").count("\n") == 1
    assert said(capsys, "set", "lan", "kernel").count("\n") == 1


def test_the_restart_is_not_advised_before_the_rest_is_put_right(
    connection: Any, kernel: Kernel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is active with the kernel as its manager; its definition has the attribute already."""
    forms = both_forms()
    swapped = Definition(forms.name, forms.persistent, forms.active, transient=False)
    monkeypatch.setattr(netverbs, "read_definition", lambda *_: swapped)
    plug(kernel, vids={"eth0": 1, guest(connection, "web1"): 30})
    *_, last = said(capsys, "set", "lan", "libvirt").splitlines()
    assert last == (
        "It takes effect when the network is restarted; put right first what is named above: "
        "virsh net-destroy lan && virsh net-start lan"
    )
