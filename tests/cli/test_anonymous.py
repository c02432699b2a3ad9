"""An anonymous capture says of each host what a plain one says, with other names: no verdict hangs on a name."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from macmgr.capture.origin import Origin
from macmgr.capture.renaming import Renaming, make_renaming
from macmgr.capture.replaying import origin_of_capture
from macmgr.capture.taking import Taken, take
from macmgr.model.known import SeenMacs
from macmgr.model.multicast import Mdb, Member
from macmgr.state.observedfile import write_observed
from tests.cli.conftest import Host
from tests.golden.case import CASES

ALL = [pytest.param(folder.name, marks=pytest.mark.case(folder.name)) for folder in CASES]


def renamed(value: Any, renaming: Renaming) -> Any:
    """The same document, with the names that the capture was given; a name may need quotes in a command."""
    if isinstance(value, str):
        for (kind, old), new in renaming.names.items():
            value = value.replace(shlex.quote(old), new) if kind == "domain" and shlex.quote(old) != old else value
        return renaming.in_sentence(value)
    if isinstance(value, list):
        return [renamed(each, renaming) for each in value]
    if isinstance(value, dict):
        return {key: renamed(each, renaming) for key, each in value.items()}
    return value


def anonymous(plain: Origin) -> Taken:
    return take(plain, {"macmgr": "1"}, lambda snapshot: snapshot, anonymous=True)


def write(folder: Path, taken: Taken) -> Path:
    for name, data in taken.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("case", ALL)
def test_the_verdicts_stay_and_no_name_does(case: str, host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "plain")).code == 0
    taken = anonymous(origin_of_capture(tmp_path / "plain"))
    write(tmp_path / "anonymous", taken)
    for words in (("audit", "--json"), ("doctor", "--json"), ("explain", "br0", "--json")):
        plain, other = (
            host.macmgr_without_run_dir(*words, "--replay", str(tmp_path / name)) for name in ("plain", "anonymous")
        )
        assert other.code == plain.code
        # a domain may be called router, as a word of a message: so that is renamed on both sides
        names = {key: new for key, new in taken.renaming.names.items() if key[0] not in ("uuid", "ip")}
        words_alone = Renaming(names, {})
        if plain.stdout:
            plain_document = renamed(json.loads(plain.stdout), taken.renaming)
            assert renamed(json.loads(other.stdout), words_alone) == renamed(plain_document, words_alone)
    text = "\n".join(f"{name}\n{data.decode()}" for name, data in taken.files.items())
    new = set(taken.renaming.names.values())
    old = {name for _, name in taken.renaming.names if any(map(str.isdigit, name[1:]))} - new  # and no word of a state
    assert [name for name in old if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)] == []


def test_addresses_keep_what_decides() -> None:
    """Beginnings, equality, order, a tap's likeness to its guest, prefixes, and groups of one host."""
    guests = ["52:54:00:3c:aa:01", "52:54:00:3c:aa:7f", "52:54:00:3c:b0:01", "fe:54:00:3c:aa:01", "02:bf:0a:3c:aa:01"]
    stay = ["00:00:5e:00:01:0a", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:01:02:03", "01:80:c2:00:00:0e"]
    prefixes = ["52:54:00:3c:aa:*", "02:bf:*", "00:00:5e:00:01:*"]
    texts = [{"of guests": guests, "a:b": [stay, prefixes]}, "33:33:ff:3c:aa:01", "ff02::1:ff3c:aa01", "2001:db8::1"]
    renaming = make_renaming([("mac", guests[0])], texts, {"192.0.2.9", "192.0.2.10", "2001:db8:1::1"})
    new = renaming.in_json(texts)
    assert new[0]["of guests"] == [
        "52:54:00:00:00:00",
        "52:54:00:00:00:01",
        "52:54:00:00:01:00",
        "fe:54:00:00:00:00",
        "02:bf:0a:00:00:00",
    ]
    assert new[0]["a:b"] == [stay, ["52:54:00:00:00:*", "02:bf:*", "00:00:5e:00:01:*"]]
    assert new[1:] == ["33:33:ff:00:00:00", "ff02::1:ff00:0", "2001:db8::1"]
    assert renaming.in_json(["192.0.2.9", "192.0.2.10", "2001:db8:1::1"]) == ["198.18.0.1", "198.18.0.2", "2001:db8::1"]
    assert renaming.in_sentence("allow 52:54:00:3c:aa:* of 52:54:00:3c:b0:01") == (
        "allow 52:54:00:00:00:* of 52:54:00:00:01:00"
    )


def test_what_is_remembered_and_seen_is_renamed(host: Host, tmp_path: Path) -> None:
    """Of a domain that is gone, too; the sources of multicast have others' addresses."""
    assert host.macmgr("apply").code in (0, 1)
    uuid = "00000000-0000-4000-8000-000000000001"
    seen = SeenMacs("vnet0", 101, uuid, "52:54:00:aa:00:01", macs=("52:54:00:cc:00:09",))
    assert write_observed([seen]) == ""
    host.kernel.mdb = {"br0": Mdb((Member("239.1.2.3", 1, "vnet0", "203.0.113.7"),))}
    assert host.macmgr("capture", str(tmp_path / "plain")).code == 0
    plain = origin_of_capture(tmp_path / "plain")
    taken = anonymous(plain)
    written = write(tmp_path / "anonymous", taken)
    text = "".join(path.read_text() for path in written.rglob("*.json"))
    for name in ("web1", "52:54:00:cc:00:09", "203.0.113.7", "52:54:00:aa:00:01"):
        assert name in "".join(path.read_text() for path in (tmp_path / "plain").rglob("*.json"))
        assert name not in text
    other = origin_of_capture(written)
    assert other.seen().records[0].uuid == taken.renaming.names["uuid", uuid]
    assert [port.domain for port in other.memory()[0].ports] == [
        taken.renaming.names["domain", port.domain] for port in plain.memory()[0].ports
    ]
