"""The MDB is read as bridge(8) shows it, however long it is."""

from __future__ import annotations

from pathlib import Path

from macmgr.kernel import Kernel
from macmgr.model.multicast import Mdb, Member
from tests.netns.conftest import Namespace

_MANY = 3000


def test_groups_and_routers_are_read(ns: Namespace) -> None:
    ns.add_bridge(options="mcast_igmp_version 3")
    ns.add_bridge("br1")
    for port in ("c0", "c1", "c2"):
        ns.add_cable(port)
    ns.settle()
    for line in (
        "mdb add dev br0 port c0 grp 239.1.2.3 permanent",
        "mdb add dev br0 port c1 grp 239.1.2.3 src 10.0.0.1 permanent",
        "mdb add dev br0 port c0 grp ff05::77 temp",
        "mdb add dev br0 port br0 grp 239.1.2.4 temp",
        "mdb add dev br0 port c1 grp 01:00:0c:cc:cc:cc permanent",
        "link set dev c2 mcast_router 2",
    ):
        ns.bridge(line)
    with Kernel(ns.name) as kernel:
        read = kernel.read_groups(kernel.read_snapshot()).mdb
    by_source = Member("239.1.2.3", 0, "c1", "10.0.0.1", include=True)
    assert {*read["br0"].members} == {
        Member("239.1.2.3", 0, "c0"),
        by_source,
        by_source._replace(port="c0"),  # the kernel adds who asked for all sources
        Member("ff05::77", 0, "c0"),
        Member("239.1.2.4", 0, "br0"),
        Member("01:00:0c:cc:cc:cc", 0, "c1"),
    }
    assert {*read["br0"].routers_ipv4} == {*read["br0"].routers_ipv6} == {"c2"}
    assert read["br1"] == Mdb()


def test_a_list_of_many_parts_is_read_to_its_end(ns: Namespace, tmp_path: Path) -> None:
    ns.add_bridge()
    ns.add_cable("c0")
    ns.settle()
    groups = {f"239.1.{number >> 8}.{number & 0xFF}" for number in range(_MANY)}
    (tmp_path / "batch").write_text("".join(f"mdb add dev br0 port c0 grp {each} permanent\n" for each in groups))
    ns.run("bridge", "-batch", str(tmp_path / "batch"))
    ns.bridge("link set dev c0 mcast_router 2")
    with Kernel(ns.name) as kernel:
        read = kernel.read_groups(kernel.read_snapshot()).mdb["br0"]
    assert {member.group for member in read.members} == groups
    assert len(read.members) == _MANY
    assert read.routers_ipv4 == {"c0"}
