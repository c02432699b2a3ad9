"""`macmgr compare` as a person types it: on captures of three hosts, on audits, and on what is none.

``migrated`` has what `tests/netns/test_compare.py` captures: a guest that libvirt alone has migrated from h1 to h2.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Host, Said
from tests.cli.test_documents import validate
from tests.conftest import Golden

MIGRATED = Path(__file__).parent / "migrated"
HOSTS = tuple(MIGRATED / name for name in ("h1", "h2", "h3"))


def compare(host: Host, *words: str | Path) -> Said:
    return host.macmgr_without_run_dir("compare", *map(str, words))


def audit_of(host: Host, name: str, /, **more: Any) -> dict[str, Any]:
    """The audit of a captured host, with other values."""
    said = host.macmgr_without_run_dir("audit", "--json", "--replay", str(MIGRATED / name))
    document: dict[str, Any] = json.loads(said.stdout)
    return document | more


def test_a_guest_that_libvirt_alone_has_migrated(host: Host, golden: Golden) -> None:
    said = compare(host, *HOSTS)
    assert (said.code, said.stderr) == (1, "")
    golden(Path(__file__).parent / "compared" / "migrated.txt", said.stdout)
    assert "web1" in said.stdout


def test_a_directory_of_captures_is_the_same(host: Host) -> None:
    assert compare(host, MIGRATED) == compare(host, *HOSTS)


def test_audits_are_the_same_as_captures(host: Host, tmp_path: Path) -> None:
    for each in HOSTS:
        (tmp_path / f"{each.name}.json").write_text(json.dumps(audit_of(host, each.name)))
    (tmp_path / "README").write_text("not looked at")
    assert compare(host, tmp_path) == compare(host, MIGRATED)
    assert compare(host, tmp_path / "h1.json", *HOSTS[1:]) == compare(host, MIGRATED)


def test_the_document(host: Host) -> None:
    said = compare(host, "--json", *HOSTS)
    assert said.code == 1
    validate("compare", said.stdout)
    document = json.loads(said.stdout)
    assert [each["code"] for each in document["differences"]] == ["unreached", "left-behind"]
    assert document["agree"] is False


def test_hosts_that_agree(host: Host) -> None:
    said = compare(host, *HOSTS[::2])
    assert said == Said(0, "2 hosts compared: they agree.\n", "")
    document = json.loads(compare(host, "--json", *HOSTS[::2]).stdout)
    validate("compare", json.dumps(document))
    assert document["agree"] is True


def test_of_two_audits_of_one_host_the_last_one_counts(host: Host, tmp_path: Path) -> None:
    later = audit_of(host, "h1", host="h2", taken_at="2999-01-01T00:00:00Z")  # the guest has left h2 again
    (tmp_path / "h2.json").write_text(json.dumps(later))
    for order in ((*HOSTS, tmp_path / "h2.json"), (tmp_path / "h2.json", *HOSTS)):
        said = compare(host, *order)
        assert said.code == 0
        assert "Of h2 there are several audits, and the last one counts" in said.stdout
        document = json.loads(compare(host, "--json", *order).stdout)
        validate("compare", json.dumps(document))
        assert [(each["source"], each["older"]) for each in document["hosts"]][1] == (
            str(tmp_path / "h2.json"),
            [str(HOSTS[1])],
        )


def test_the_page_shows_what_it_prints() -> None:
    page = " ".join((MIGRATED.parents[2] / "docs" / "compare.rst").read_text().split())
    assert " ".join((MIGRATED.parent / "compared" / "migrated.txt").read_text().split()) in page


def test_one_host_is_nothing_to_compare(host: Host) -> None:
    said = compare(host, HOSTS[0])
    assert (said.code, said.stdout) == (2, "")
    assert said.stderr.endswith("it takes audits of two hosts at least\n")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is no JSON document"),
        ("[]", "has a list where macmgr writes a dict"),
        ("{}", "is not what 'macmgr audit --json' or 'macmgr capture' writes"),
        ('{"version": 2, "findings": [], "taken_at": ""}', "is an audit of version 2, and this macmgr reads version 1"),
        ('{"version": 1, "findings": [], "taken_at": "now", "host": "h9"}', "Invalid isoformat string: 'now'"),
        ("[" * 100_000, "is no JSON document"),
        (None, "No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_is_compared(
    host: Host, tmp_path: Path, content: str | None, why: str
) -> None:
    bad = tmp_path / "bad.json"
    if content is not None:
        bad.write_text(content)
    for hosts, code in ((HOSTS, 1), (HOSTS[::2], 65)):
        said = compare(host, *hosts, bad)
        assert (said.code, said.stderr) == (code, "")
        assert "1 audit could not be read" in said.stdout
        assert why in " ".join(said.stdout.split())
        document = json.loads(compare(host, "--json", *hosts, bad).stdout)
        validate("compare", json.dumps(document))
        assert document["unread"] == [f"{bad}: {why}"]


def test_a_torn_capture(host: Host, tmp_path: Path) -> None:
    shutil.copytree(HOSTS[1], tmp_path / "h2")
    (tmp_path / "h2" / "kernel.json").unlink()
    assert "is torn: 'kernel.json' is not in it" in compare(host, *HOSTS[::2], tmp_path / "h2").stdout


def test_a_directory_with_nothing_in_it(host: Host, tmp_path: Path) -> None:
    said = compare(host, tmp_path)
    assert (said.code, said.stdout) == (69, "")
    assert said.stderr == f"macmgr: {tmp_path}: has no audit (.json) and no capture in it\n"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "h\u202e1"])
def test_a_hosts_name_is_not_obeyed(host: Host, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(audit_of(host, "h2", host=name)))
    said = compare(host, tmp_path / "a.json", HOSTS[0])
    assert said.code == 1
    assert not {"\x1b", "\u202e"} & set(said.stdout)
    assert "a\nb" not in said.stdout


def spoilt(said: Any, chance: random.Random) -> Any:
    """The document with one value that is another."""
    if isinstance(said, dict) and said and chance.random() < 0.9:
        name = chance.choice(sorted(said))
        return said | {name: spoilt(said[name], chance)}
    if isinstance(said, list) and said and chance.random() < 0.9:
        place = chance.randrange(len(said))
        return [*said[:place], spoilt(said[place], chance), *said[place + 1 :]]
    return chance.choice([None, 0, -1, 1e99, True, "", "x", "\x00", [], [[]], {}, {"port": []}, "52:54:00:AA:00:01"])


def test_no_document_ends_it_with_a_bug(host: Host, tmp_path: Path) -> None:
    chance, whole = random.Random(1), audit_of(host, "h2")  # noqa: S311 - the same each time
    for _ in range(300):
        (tmp_path / "spoilt.json").write_text(json.dumps(spoilt(whole, chance)))
        said = compare(host, tmp_path / "spoilt.json", *HOSTS)
        assert (said.code, said.stderr) in ((0, ""), (1, "")), said
