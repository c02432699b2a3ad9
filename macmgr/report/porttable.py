"""The tree of bridges and ports for people: each guest's port, what it is like, and whether its guest is reached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from macmgr.model.intent import GuestPort
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Stacked
from macmgr.model.vids import fold_vids
from macmgr.oneline import unbroken
from macmgr.phrases import counted
from macmgr.report.portwords import PortWord, bridge_words, guest_word, port_faults
from macmgr.report.terminal import wrapped
from macmgr.view import View

COLUMNS = (
    *("", "PORT", "DOMAIN", "NIC", "STATE", "MANAGER"),
    *("MAC", "VIDS", "LEARNING", "FLOOD", "ENTRY", "PROMISC", ""),
)
# A terminal too narrow for all columns drops these, the least needed first.
_SPARE = ("MANAGER", "NIC", "STATE", "PROMISC", "VIDS", "ENTRY", "FLOOD", "LEARNING")
_DOMAIN, _MACS = COLUMNS.index("DOMAIN"), COLUMNS.index("MAC")
_SHORTEST = 8  # letters of a domain's name that always stay
_GAP = 2
_STYLE = {
    PortWord.NOTHING: "",
    PortWord.OK: "green",
    PortWord.LEFT: "yellow",
    PortWord.WARNING: "yellow",
    PortWord.AT_RISK: "yellow",
    PortWord.DRIFT: "red",
    PortWord.CUT_OFF: "red",
}
_MANY = 30  # ports of a bridge, from which on those without a problem are left out


@dataclass(frozen=True, slots=True)
class PortRow:
    """A port's cells, one for each of `COLUMNS` but the first, which has the branch of the tree."""

    guest: GuestPort | None
    cells: list[Text]
    dull: bool  # nothing is wrong with it, and it leads to no network


def tree_lines(view: View, at_risk: Iterable[str], width: int, *, audit: bool, verbose: bool) -> Iterator[Text]:
    """Yields each bridge with its ports; in an ``audit`` the managed ones, with the ports that say something."""
    for bridge, rows in port_rows(view, at_risk, audit=audit):
        yield from _headline(bridge, view, width)
        fold = audit and not verbose and len(rows) >= _MANY
        shown = [row for row in rows if not (fold and row.dull)]
        yield from _table(shown, width, view, verbose=verbose and not audit)
        if more := len(rows) - len(shown):
            text = f"({counted(more, 'port')} without a problem left out; -v shows all)"
            yield from wrapped(Text(" " * 5), text, width, 5, "dim")
        yield Text()


def port_rows(view: View, at_risk: Iterable[str], *, audit: bool) -> Iterator[tuple[Bridge, list[PortRow]]]:
    guests = {guest.port: guest for guest in view.guests}
    roles = roles_of(view.snapshot.ports.values(), {guest.port for guest in view.intent.ports})
    faults = port_faults(view, at_risk)
    for bridge in view.bridges:
        managed = bridge.name in view.intent.managed_bridges
        if audit and not managed:
            continue
        ports = sorted(view.ports_of(bridge.name), key=lambda port: port.name in guests)
        rows = [
            _row(port, guests.get(port.name), roles[port.name], view, faults.get(port.name), managed=managed)
            for port in ports
        ]
        yield bridge, [*rows, *(_stacked_row(each) for each in view.stacked_on(bridge.name))]


def portless_lines(view: View, width: int) -> Iterator[Text]:
    if not view.portless:
        return
    yield Text("NICs without a port on a Linux bridge", "bold")
    rows = [[unbroken(each) for each in (nic.domain, nic.alias, nic.mac, nic.kind)] for nic in view.portless]
    widths = [max(map(cell_len, column)) + _GAP for column in zip(*rows, strict=True)]
    for nic, row in zip(view.portless, rows, strict=True):
        cells = (each + " " * (wide - cell_len(each)) for each, wide in zip(row, widths, strict=True))
        head = Text("    " + "".join(cells))
        if width - head.cell_len >= cell_len(nic.why) or width >= 2 * head.cell_len:
            yield from wrapped(head, nic.why, width, head.cell_len)
            continue
        head.rstrip()
        yield head
        yield from wrapped(Text(" " * 8), nic.why, width, 8)
    yield Text()


def _headline(bridge: Bridge, view: View, width: int) -> Iterator[Text]:
    name = Text.assemble((unbroken(bridge.name), "bold"), " " * _GAP)
    return wrapped(name, bridge_words(bridge, view), width, name.cell_len)


def _table(rows: list[PortRow], width: int, view: View, *, verbose: bool) -> Iterator[Text]:
    """Yields a bridge's ports without the columns that do not fit the terminal, and names those."""
    if not rows:
        return
    branches = [" ├─"] * (len(rows) - 1) + [" └─"]
    cells = [[Text(branch), *row.cells] for branch, row in zip(branches, rows, strict=True)]
    if _table_width(_widths(cells)) > width:
        for each in cells:
            each[_MACS] = _first_of(each[_MACS])
    widths = _widths(cells)
    left_out: list[str] = []
    for name in _SPARE:
        if _table_width(widths) <= width:
            break
        widths[COLUMNS.index(name)] = -_GAP
        left_out.append(name)
    spare = widths[_DOMAIN] - max(_table_width(widths) - width, 0)
    widths[_DOMAIN] = min(widths[_DOMAIN], max(spare, _SHORTEST))
    for each in cells:
        each[_DOMAIN].truncate(widths[_DOMAIN], overflow="ellipsis")
    shown = [index for index, wide in enumerate(widths) if wide >= 0]
    yield _line([Text(name, "bold") for name in COLUMNS], widths, shown)
    for row, each in zip(rows, cells, strict=True):
        yield _line(each, widths, shown)
        if verbose and row.guest is not None:
            yield from _details(row.guest, view, width)
    if left_out:
        yield from wrapped(Text(" " * 5), f"(no room for {', '.join(left_out)})", width, 5, "dim")


def _line(cells: list[Text], widths: list[int], shown: Iterable[int]) -> Text:
    line = Text()
    for index in shown:
        line.append_text(cells[index]).append(" " * (widths[index] - cells[index].cell_len + _GAP))
    line.rstrip()
    return line


def _details(guest: GuestPort, view: View, width: int) -> Iterator[Text]:
    """Yields who decides about the port, and its entries."""
    yield from wrapped(Text(" │       "), f"manager={guest.policy.manager}: {guest.policy.reason}", width, 9, "dim")
    by_kind: dict[tuple[str, str], list[int]] = {}
    for entry in view.snapshot.fdb.of_port(guest.port):
        by_kind.setdefault((entry.mac, entry.in_words), []).append(entry.vid)
    for (mac, words), vids in sorted(by_kind.items()):
        yield from wrapped(Text(" │       "), f"{mac} {words} (VID {fold_vids(sorted(vids))})", width, 9, "dim")


def _widths(cells: list[list[Text]]) -> list[int]:
    return [max(cell_len(name), *(row[index].cell_len for row in cells)) for index, name in enumerate(COLUMNS)]


def _table_width(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _first_of(macs: Text) -> Text:
    first, *more = macs.plain.split(" ")
    return Text(f"{first} +{len(more)}" if more else first)


def _row(
    port: BridgePort, guest: GuestPort | None, role: Role, view: View, fault: PortWord | None, *, managed: bool
) -> PortRow:
    flags = [Text(_on(port.flags.learning)), Text(_on(port.flags.unicast_flood))]
    name, vids, promiscuous = Text(port.name), Text(fold_vids(port.vids)), Text("yes" if port.promiscuity else "no")
    if guest is None:
        word = Text(role.words if managed else "", "dim")
        nothing = [Text() for _ in range(4)]
        cells = [name, word, *nothing, vids, *flags, Text(), promiscuous, _styled(fault or PortWord.NOTHING)]
        return PortRow(None, cells, dull=fault is None and not role.leads_out)
    state = guest_word(guest, fault)
    cells = [
        name,
        Text(unbroken(guest.domain)),
        Text(unbroken(guest.alias)),
        Text(guest.state),
        Text("?" if guest.policy.problem else str(guest.policy.manager)),
        Text(" ".join(guest.macs)),
        vids,
        *flags,
        Text(_entry_word(guest, view.snapshot.fdb.of_port(port.name))),
        promiscuous,
        _styled(state, serious=not guest.managed),
    ]
    return PortRow(guest, cells, dull=state in (PortWord.NOTHING, PortWord.OK))


def _stacked_row(device: Stacked) -> PortRow:
    blank = Text()
    cells = [Text(device.name), Text(Role.STACKED.words, "dim"), blank, blank, blank, Text(device.mac)]
    return PortRow(None, [*cells, Text(fold_vids(device.vids)), *[blank] * 5], dull=True)


def _styled(word: PortWord, *, serious: bool = False) -> Text:
    return Text(str(word), "red" if serious and word is PortWord.LEFT else _STYLE[word])


def _entry_word(guest: GuestPort, entries: Iterable[Entry]) -> str:
    macs = frozenset(guest.macs)
    own = [entry for entry in entries if entry.mac in macs and entry.state is EntryState.STATIC]
    if not own:
        return "none"
    return "sticky" if all(entry.sticky for entry in own) else "static"


def _on(value: bool) -> str:
    return "on" if value else "off"
