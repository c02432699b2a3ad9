"""A mistake of one letter, in each name and each value, in XML and in TOML: refused, with the word that was meant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from macmgr.config import AUDIT_NAMES, DAEMON_NAMES, HOOK_NAMES, MODES, ON_ERROR, TABLES, read_config
from macmgr.options import MAC_TABLE_MANAGER, OPTIONS, YES_NO
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.problems import check_document

Case = tuple[str, str, str, tuple[str, ...]]  # what is misspelt, a document with {} in its place, the word, its fellows

DOMAIN = "<domain><name>d</name><metadata>%s</metadata><devices>%s</devices></domain>"
NIC = "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='n'%s/></interface>"
NETWORK = "<network><name>n</name><metadata>%s</metadata><bridge name='b'%s/><portgroup name='g'/></network>"
BARE = f"<macTable xmlns='{NAMESPACE}'%s>%s</macTable>"
INTERFACE = "<interface mac='52:54:00:00:00:01'%s/>"
PORTGROUP = "<portgroup name='g'%s/>"
XML_NAMES = tuple(option.xml for option in OPTIONS)
TOML_NAMES = (*(option.toml for option in OPTIONS), "allow", "mode")


def domain(attributes: str = "", children: str = "") -> str:
    return DOMAIN % (BARE % (attributes, children), NIC % "")


def network(children: str) -> str:
    return NETWORK % (BARE % ("", children), "")


def xml_cases() -> Iterator[Case]:
    for option in OPTIONS:
        for value in option.values:
            for place, text in (
                ("macTable", domain(f" {option.xml}='{{}}'")),
                ("interface", domain("", INTERFACE % f" {option.xml}='{{}}'")),
                ("portgroup", network(PORTGROUP % f" {option.xml}='{{}}'")),
            ):
                yield f"value of {option.xml} on {place}", text, value, tuple(option.values)
        value = next(iter(option.values))
        yield f"name on macTable: {option.xml}", domain(f" {{}}='{value}'"), option.xml, XML_NAMES
        name = domain("", INTERFACE % f" {{}}='{value}'")
        yield f"name on interface: {option.xml}", name, option.xml, (*XML_NAMES, "mac")
        name = network(PORTGROUP % f" {{}}='{value}'")
        yield f"name on portgroup: {option.xml}", name, option.xml, (*XML_NAMES, "name")
    mac = "='52:54:00:00:00:01'"
    yield "key of interface", domain("", f"<interface {{}}{mac}/>"), "mac", (*XML_NAMES, "mac")
    yield "key of portgroup", network("<portgroup {}='g'/>"), "name", (*XML_NAMES, "name")
    yield "key of allow", domain("", f"<interface mac{mac}><allow {{}}{mac}/></interface>"), "mac", ("mac",)
    yield "element interface", domain("", f"<{{}} mac{mac}/>"), "interface", ("interface",)
    yield "element portgroup", network("<{} name='g'/>"), "portgroup", ("portgroup",)
    yield "element allow", domain("", f"<interface mac{mac}><{{}} mac{mac}/></interface>"), "allow", ("allow",)
    table = f"<m:{{}} xmlns:m='{NAMESPACE}'/>"
    yield "element macTable", DOMAIN % (table, NIC % ""), "macTable", ("macTable",)
    yield "element macTable of a network", NETWORK % (table, ""), "macTable", ("macTable",)
    yield "namespace", DOMAIN % ("<macTable xmlns='{}'/>", NIC % ""), NAMESPACE, (NAMESPACE,)
    for manager in ("kernel", "libvirt"):
        managers = ("kernel", "libvirt")
        yield "value on bridge", NETWORK % ("", f" {MAC_TABLE_MANAGER}='{{}}'"), manager, managers
        yield "value on source", DOMAIN % ("", NIC % f" {MAC_TABLE_MANAGER}='{{}}'"), manager, managers
    yield "attribute of bridge", NETWORK % ("", " {}='libvirt'"), MAC_TABLE_MANAGER, (MAC_TABLE_MANAGER,)


def toml_cases() -> Iterator[Case]:
    bridge = '[bridge."br0"]\n'
    for option in OPTIONS:
        for value in option.values:
            yield f"value of {option.toml}", f'{bridge}{option.toml} = "{{}}"', value, tuple(option.values)
        yield f"name {option.toml}", f'{bridge}{{}} = "{next(iter(option.values))}"', option.toml, TOML_NAMES
        inline = f'bridge = {{{{br0 = {{{{{{}} = "{next(iter(option.values))}"}}}}}}}}'
        yield f"name {option.toml} in an inline table", inline, option.toml, TOML_NAMES
    yield "name allow", f"{bridge}{{}} = []", "allow", TOML_NAMES
    for table in TABLES:
        yield f"table {table}", "[{}]", table, TABLES
        yield f"table {table} as a dotted key", "{}.a = 1", table, TABLES
    for name in HOOK_NAMES:
        yield f"name {name}", "[hook]\n{} = 1", name, HOOK_NAMES
    for name in AUDIT_NAMES:
        yield f"name {name}", "[audit]\n{} = 1", name, AUDIT_NAMES
    for value in ON_ERROR:
        yield "value of on_error", '[hook]\non_error = "{}"', value, ON_ERROR
    for name in DAEMON_NAMES:
        yield f"name {name}", "[daemon]\n{} = 1", name, DAEMON_NAMES
    yield "name mode", f"{bridge}{{}} = 'manage'", "mode", TOML_NAMES
    for value in MODES:
        yield "value of mode", f'{bridge}mode = "{{}}"', value, MODES
    for value in YES_NO:
        yield "value of strict", '[audit]\nstrict = "{}"', value, tuple(YES_NO)
        for name in ("sightings", "libvirt_events", "metrics_per_mac"):
            yield f"value of {name}", f'[daemon]\n{name} = "{{}}"', value, tuple(YES_NO)


def mistakes(word: str, fellows: tuple[str, ...]) -> Iterator[str]:
    """All deletions and transpositions, and with a few letters all insertions and substitutions."""
    letters = "aexZ"
    made = {word[:i] + word[i + 1 :] for i in range(len(word))}
    made |= {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    made |= {word[:i] + letter + word[i:] for i in range(len(word) + 1) for letter in letters}
    made |= {word[:i] + letter + word[i + 1 :] for i in range(len(word)) for letter in letters}
    # "on" is "no" with its letters swapped, and libvirt's own word for yes, which is what it is taken for
    yield from sorted(made - {word, "", "on", *fellows})


def identify(case: Case) -> str:
    return f"{case[0]}: {case[2]}"


@pytest.mark.parametrize("case", [*xml_cases()], ids=identify)
def test_in_xml(case: Case) -> None:
    _, document, word, fellows = case
    assert not check_document(document.format(word).encode()).problems
    for mistake in mistakes(word, fellows):
        texts = [problem.text for problem in check_document(document.format(mistake).encode()).problems]
        assert any(f"did you mean {word!r}?" in text for text in texts), (mistake, texts)


@pytest.mark.parametrize("case", [*toml_cases()], ids=identify)
def test_in_toml(case: Case) -> None:
    _, document, word, fellows = case
    for mistake in mistakes(word, fellows):
        text = document.format(mistake)
        problems = read_config(text.encode())[1]
        found = [problem for problem in problems if f"did you mean {word!r}?" in problem.text]
        assert found, (mistake, problems)
        assert found[0].line == len(text.splitlines())


@pytest.mark.parametrize(
    ("word", "meant"), [("true", "yes"), ("on", "yes"), ("1", "yes"), ("false", "no"), ("off", "no"), ("OFF", "no")]
)
def test_other_words_for_yes_and_no(word: str, meant: str) -> None:
    for texts in (
        [problem.text for problem in check_document(domain(f" lock='{word}'").encode()).problems],
        [problem.text for problem in read_config(f'[bridge.b]\nlock = "{word}"'.encode())[1]],
    ):
        assert texts == [f"lock is {word!r}; allowed: yes, no; did you mean {meant!r}?"]


def test_the_other_files_spelling_of_a_name() -> None:
    def only(text: str) -> str:
        return read_config(f'[bridge.b]\n{text} = "x"'.encode())[1][0].text

    assert "did you mean 'guest_mac'?" in only("guestMac")
    assert "did you mean 'mac_table_manager'?" in only("manager")
    assert "did you mean 'mac_table_manager'?" in only("macTableManager")
    assert "did you mean 'manager'?" in check_document(domain(" mac_table_manager='kernel'").encode()).problems[0].text
    assert "did you mean 'guestMac'?" in check_document(domain(" guest_mac='alert'").encode()).problems[0].text
