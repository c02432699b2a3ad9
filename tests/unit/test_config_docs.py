"""The examples of docs/configuration.rst and docs/metadata.rst do what the text says."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
from lxml import etree

from macmgr import cli
from macmgr.config import AUDIT_NAMES, DAEMON_NAMES, HOOK_NAMES, TABLES, read_config
from macmgr.model.intent import Manager, Settings
from macmgr.options import OPTIONS
from macmgr.readers.problems import check_document
from macmgr.report.verdict import Word

TOP = Path(__file__).parents[2]
CONFIGURATION = (TOP / "docs" / "configuration.rst").read_text()
METADATA = (TOP / "docs" / "metadata.rst").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a page in one language, in order."""
    found = re.findall(rf"(?m)^\.\. code-block:: {language}\n((?:    .*\n|\n)+)", text)
    return [textwrap.dedent(re.sub(r"\A\n*    :class:.*\n", "", block)).strip("\n") + "\n" for block in found]


NETWORK = next(block for block in blocks(METADATA, "xml") if block.startswith("<network>"))


def test_the_configuration() -> None:
    config, problems = read_config(blocks(CONFIGURATION, "toml")[0].encode())
    assert not problems
    assert set(config.bridges) == {"br0", "br0.100", "br-*"}
    assert None not in (config.bridges["br0"].manager, config.bridges["br0"].guest_mac, config.bridges["br0"].lock)
    assert config.bridges["br0.100"] == Settings(manager=Manager.KERNEL)


def test_every_setting_is_described() -> None:
    names = {*TABLES, *HOOK_NAMES, *DAEMON_NAMES, *AUDIT_NAMES, "allow", "mode", *(option.toml for option in OPTIONS)}
    assert not {name for name in names if name not in CONFIGURATION}
    assert not {option.xml for option in OPTIONS if f"``{option.xml}``" not in METADATA}
    for option in OPTIONS:
        row = next(line for line in CONFIGURATION.splitlines() if line.startswith(f"``{option.toml}``"))
        assert not {value for value in option.values if value not in row}


def test_every_verdict_of_an_audit_is_described() -> None:
    schema = json.loads((TOP / "docs" / "audit-v1.schema.json").read_text())["properties"]["verdict"]["enum"]
    table = CONFIGURATION.partition("``verdict``  ")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^``([a-z-]+)``", table) == schema == [str(word) for word in Word]


def test_the_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("macmgr.toml").write_text(blocks(CONFIGURATION, "toml")[1])
    network = NETWORK
    Path("lan.xml").write_text(network.replace("macTableManager", "macTableManger"))
    assert cli.run(["validate", "macmgr.toml"]) == 78
    told = blocks(CONFIGURATION, "console")[0]
    assert capsys.readouterr().out == told.partition("\n")[2]
    assert cli.run(["validate", "lan.xml"]) == 65
    assert capsys.readouterr().out == blocks(METADATA, "console")[1].partition("\n")[2]


@pytest.mark.parametrize("document", blocks(METADATA, "xml"))
def test_the_documents_are_understood(document: str) -> None:
    checked = check_document(document.encode())
    assert not checked.problems
    assert checked.kind in ("domain", "network", "macTable")


def test_the_copy_of_the_schemas_works_with_libxml2(tmp_path: Path) -> None:
    for path in (TOP / "xml-schemas").glob("*.rng"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    subprocess.run(["sh", "-ec", blocks(METADATA, "sh")[0]], cwd=tmp_path, check=True)
    schema = etree.RelaxNG(etree.parse(str(tmp_path / "macmgr-network.rng")))
    network = etree.fromstring(NETWORK)
    assert schema.validate(network)
    network.set("macTableManger", "libvirt")
    assert not schema.validate(network)
