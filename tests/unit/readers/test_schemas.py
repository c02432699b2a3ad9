"""The schemas, as an editor uses them: each accepts good documents and refuses bad ones, with libvirt's own too."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lxml import etree

from macmgr.options import OPTIONS, Option
from macmgr.readers.hookdata import read_hook_input
from macmgr.readers.metadata import NAMESPACE, read_domain_table, read_network_table

SCHEMAS = Path(__file__).parents[3] / "xml-schemas"
LIBVIRT = Path("/usr/share/libvirt/schemas")

NS = f"xmlns='{NAMESPACE}'"
FOREIGN = "<note xmlns='urn:somebody'><by who='me'/>text</note>"
OWN = f"<macTable {NS} allow='own'><interface mac='52:54:00:00:00:01' allow='own'/></macTable>"
GROUP = f"<macTable {NS}><portgroup name='g' manager='libvirt'><allow mac='0:0:5e:*'/></portgroup></macTable>"
NIC = f"<macTable {NS} manager='libvirt' pin='static'><interface mac='52:54:00:0A:00:01' lock='no'/></macTable>"
NETWORK = "<network><name>n</name><metadata>{}</metadata><bridge name='b' macTableManager='libvirt'/></network>"
DOMAIN = "<domain type='test'><name>d</name><memory>1</memory><os><type>hvm</type></os><metadata>{}</metadata></domain>"
HOOK = "<hookData>{}</hookData>"


def accepts(schema: etree.RelaxNG, document: str) -> bool:
    return bool(schema.validate(etree.fromstring(document)))


@pytest.fixture(scope="module")
def metadata() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMAS / "macmgr-metadata.rng")))


@pytest.fixture(scope="module")
def hookdata() -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMAS / "macmgr-hookdata.rng")))


@pytest.fixture(scope="module")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, etree.RelaxNG]:
    """The overlays beside a copy of libvirt's schemas, made as docs/metadata.rst tells users of libxml2 to make it.

    libxml2 looks for an overridden definition only in those included files that do not begin with a comment
    (xmlRelaxNGRemoveRedefine), and libvirt's basictypes.rng begins with one. Other validators need no copy.
    """
    here = tmp_path_factory.mktemp("schemas")
    shutil.copytree(LIBVIRT, here / "libvirt")
    types = here / "libvirt" / "basictypes.rng"
    lines = types.read_text().splitlines(keepends=True)
    types.write_text("".join(line for line in lines if not line.startswith("<!--")))
    found = {}
    for path in SCHEMAS.glob("*.rng"):
        (here / path.name).write_text(path.read_text().replace(LIBVIRT.as_uri(), "libvirt"))
    for kind in ("network", "domain"):
        found[kind] = etree.RelaxNG(etree.parse(str(here / f"macmgr-{kind}.rng")))
    return found


@pytest.mark.parametrize(
    "document", [NIC, GROUP, f"<macTable {NS}/>", f"<macTable {NS} lock='yes'><!-- c --></macTable>", OWN]
)
def test_metadata_as_it_should_be(metadata: etree.RelaxNG, document: str) -> None:
    assert accepts(metadata, document)


@pytest.mark.parametrize(
    "document",
    [
        "<macTable/>",
        f"<macTable {NS} lock='true'/>",
        f"<macTable {NS} lock=' yes'/>",
        f"<macTable {NS} guestmac='alert'/>",
        f"<macTable {NS} allow='52:54:00:00:00:01'/>",
        f"<macTable {NS}><interface mac='52:54:00:00:00:01'><allow mac='own'/></interface></macTable>",
        f"<macTable {NS}>text</macTable>",
        f"<macTable {NS}><interface/></macTable>",
        f"<macTable {NS}><interface mac='53:54:00:00:00:01'/></macTable>",
        f"<macTable {NS}><interface mac='5254000-0000-0001'/></macTable>",
        f"<macTable {NS}><interface mac='52:54:00:00:00:01'><allow mac='a0000*'/></interface></macTable>",
        f"<macTable {NS}><interface mac='52:54:00:00:00:01'><allow mac='5254000.*'/></interface></macTable>",
        f"<macTable {NS}><interface mac='52:54:00:00:00:01'><allow mac='0000.0000.0000'/></interface></macTable>",
        f"<macTable {NS}><interface mac='52:54:00:00:00:*'/></macTable>",
        f"<macTable {NS}><portgroup name=''/></macTable>",
        f"<macTable {NS} lock='no'><portgroup name='g'/></macTable>",
        f"<macTable {NS}><portgroup name='g'><allow mac='0:0:0:0:0:0'/></portgroup></macTable>",
        f"<macTable {NS}><portgroup name='g'/><interface mac='52:54:00:00:00:01'/></macTable>",
        f"<macTable {NS}>{FOREIGN}</macTable>",
    ],
)
def test_metadata_as_it_should_not_be(metadata: etree.RelaxNG, document: str) -> None:
    assert not accepts(metadata, document)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.xml)
def test_the_schema_has_every_option_with_every_value(metadata: etree.RelaxNG, option: Option) -> None:
    for value in option.values:
        assert accepts(metadata, f"<macTable {NS} {option.xml}='{value}'/>")
    assert not accepts(metadata, f"<macTable {NS} {option.xml}='other'/>")


def test_what_the_reader_knows_and_the_schema_cannot(metadata: etree.RelaxNG) -> None:
    """The differences on purpose: readers/metadata.py says why."""
    twice = f"<macTable {NS}><interface mac='52:54:00:00:00:01'/><interface mac='52:54:0:0:0:1'/></macTable>"
    assert accepts(metadata, twice)
    assert "a second <macmgr:interface" in read_domain_table(etree.fromstring(twice))[1][0].text
    twice = f"<macTable {NS}><portgroup name='g'/><portgroup name='g'/></macTable>"
    assert accepts(metadata, twice)
    assert "a second <macmgr:portgroup>" in read_network_table(etree.fromstring(twice))[1][0].text


@pytest.mark.parametrize("inside", ["", FOREIGN, GROUP, FOREIGN + GROUP + FOREIGN])
def test_network_with_libvirts_schema(overlays: dict[str, etree.RelaxNG], inside: str) -> None:
    assert accepts(overlays["network"], NETWORK.format(inside))
    assert not accepts(overlays["network"], NETWORK.format(inside).replace("macTableManager", "macTableManger"))


@pytest.mark.parametrize("inside", ["", FOREIGN, NIC, FOREIGN + NIC + FOREIGN])
def test_domain_with_libvirts_schema(overlays: dict[str, etree.RelaxNG], inside: str) -> None:
    assert accepts(overlays["domain"], DOMAIN.format(inside))
    assert not accepts(overlays["domain"], DOMAIN.format(inside).replace("memory", "memry"))


@pytest.mark.parametrize("kind", ["network", "domain"])
@pytest.mark.parametrize(
    "inside", ["<macTable/>", f"<mactable {NS}/>", f"<macTable {NS}/>" * 2, f"<macTable {NS} lock='on'/>"]
)
def test_ours_is_tight_inside_libvirts_loose_metadata(
    overlays: dict[str, etree.RelaxNG], kind: str, inside: str
) -> None:
    document = NETWORK if kind == "network" else DOMAIN
    assert not accepts(overlays[kind], document.format(inside))


def test_each_kind_has_its_own_table(overlays: dict[str, etree.RelaxNG]) -> None:
    assert not accepts(overlays["network"], NETWORK.format(NIC))
    assert not accepts(overlays["domain"], DOMAIN.format(GROUP))


NETWORK_XML = NETWORK.format(GROUP + FOREIGN)
PORT = "<networkport><uuid>u</uuid><owner><name>d</name></owner><mac address='52:54:00:00:00:01'/></networkport>"
OLD = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'/></interface>"


@pytest.mark.parametrize("inside", [NETWORK_XML, NETWORK_XML + PORT, NETWORK_XML + OLD, OLD + NETWORK_XML])
def test_hook_input(hookdata: etree.RelaxNG, inside: str) -> None:
    assert accepts(hookdata, HOOK.format(inside))
    assert read_hook_input("network", HOOK.format(inside).encode()).network is not None


@pytest.mark.parametrize(
    "inside",
    [
        "",
        PORT,
        NETWORK_XML * 2,
        NETWORK_XML + PORT + OLD,
        NETWORK.format(NIC),
        NETWORK.format("").replace("libvirt", "libvrit"),
        NETWORK.format("").replace("<name>n</name>", ""),
    ],
)
def test_hook_input_as_it_should_not_be(hookdata: etree.RelaxNG, inside: str) -> None:
    assert not accepts(hookdata, HOOK.format(inside))


def test_captured_hook_input_fits(hookdata: etree.RelaxNG) -> None:
    captured = Path(__file__).parents[2] / "captured"
    documents = [path.read_text() for path in captured.rglob("*.xml") if "<hookData>" in path.read_text()]
    assert documents
    for document in documents:
        assert accepts(hookdata, document), hookdata.error_log
