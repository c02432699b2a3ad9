"""docs/life-events.rst from what the life events of tests/lab left: event, libvirt alone in two releases, macmgr.

`python3 -m tests.lab.lifetable` after `tox -e life` and `tox -e lab-debian13` reads what both left, and writes the
document anew. A test holds the committed document to name every event. Only the standard library is used.
"""

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENT = CHECKOUT / "docs" / "life-events.rst"
RESULTS = CHECKOUT / ".lab" / "results" / "life"
NEWER = CHECKOUT / ".lab" / "trees" / "trixie" / "lab" / "results" / "life"
MODULES = ("cpus", "nics", "host", "meddling")  # tests/lab/test_life_*.py, in the order of the document
ALONE, WITH_MACMGR = "libvirt-alone", "macmgr"
COLUMNS = ("event", "libvirt 9.0 alone", "libvirt 11.3 alone", "macmgr")

HEAD = """\
.. Written by tests/lab/lifetable.py from the results of the lab: do not edit.

What happens in a guest's life
==============================

Each row is a test in ``tests/lab``, run twice on a real libvirtd with a real QEMU guest: with libvirt alone, and with
macmgr's hooks and ``macmgr watch``. The guest has a NIC on a network with ``macTableManager='libvirt'``
("network NIC") and one with ``<interface type='bridge'>`` on its bridge ("bridge NIC": libvirt never manages those).
``sudo ./run test -e life,lab-debian13`` repeats it, ``python3 -m tests.lab.lifetable`` writes this table anew.

The releases are libvirt 9.0.0 with Linux 6.1 and Python 3.11 (Debian 12), and libvirt 11.3.0 with Linux 6.12 and Python
3.13 (Debian 13). With macmgr, there is one column, as both must come to the same.

reachable, cut off
    The LAN host pings the NIC's address and gets every answer, or does not.

closed; learns, floods
    The flags of the NIC's bridge port: learning and unicast flood both off, or which of them is on.

sticky entry, static entry, no entry
    The FDB entry of the NIC's MAC on its own port, in each VLAN of the port: one that no frame can move, one that a
    frame can move, or none.

With macmgr, each of these tests asserts: ``macmgr audit`` says in sync soon after the event; while the guest's CPUs
run, every NIC is reachable, its port closed and its entry sticky; while they do not, there is no entry.
"""


@dataclass(frozen=True)
class Event:
    """One row: the test, and the event's name, which is the first line of its docstring."""

    module: str
    test: str
    title: str


def events() -> list[Event]:
    """All life events, in the order of the document."""
    return [event for module in MODULES for event in _events_of(module)]


def document(results: Path, newer: Path) -> str:
    """The document from the results of both releases; a result that is missing is an error that names it."""
    parts = [HEAD]
    for module in MODULES:
        tree = _tree(module)
        title = (ast.get_docstring(tree) or "").partition(":")[0]
        parts += [title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "   :widths: 22 30 18 30", ""]
        parts.append("   * - " + "\n     - ".join(COLUMNS))
        for event in _events_of(module):
            alone, alone_newer, ours, ours_newer = (
                _seen(place, event, hand) for hand in (ALONE, WITH_MACMGR) for place in (results, newer)
            )
            if ours != ours_newer:
                raise ValueError(f"{event.test}: with macmgr it is not the same in both releases: {ours}, {ours_newer}")
            parts.append(f"   * - {event.title}")
            for lines in (alone, ["as 9.0"] if alone_newer == alone else alone_newer, ours):
                parts.append(f"     - | {lines[0]}")
                parts += [f"       | {line}" for line in lines[1:]]
        parts.append("")
    return "\n".join(parts)


def _seen(results: Path, event: Event, hand: str) -> list[str]:
    path = results / f"{event.test}.{hand}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path}: run the life events of tests/lab first, all of them, in both releases")
    return list(_cell(json.loads(path.read_text())["sights"]))


def main() -> int:
    """Write the document."""
    try:
        DOCUMENT.write_text(document(RESULTS, NEWER))
    except (FileNotFoundError, ValueError) as error:
        print(f"lifetable: {error}", file=sys.stderr)
        return 1
    return 0


def _tree(module: str) -> ast.Module:
    return ast.parse((Path(__file__).parent / f"test_life_{module}.py").read_text())


def _events_of(module: str) -> Iterator[Event]:
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            title = (ast.get_docstring(node) or "").partition("\n")[0].rstrip(".")
            yield Event(module, node.name.removeprefix("test_"), title)


def _cell(sights: list[dict[str, Any]]) -> Iterator[str]:
    """One line for each moment; NICs that look alike are told once."""
    for sight in sights:
        told = {nic["kind"]: _nic(nic) for nic in sight["nics"]}
        same = len(set(told.values())) == 1
        phrases = [next(iter(told.values()))] if same else [f"{kind} NIC {text}" for kind, text in told.items()]
        note = f" ({sight['note']})" if sight["note"] else ""
        yield f"*{sight['when']}:* {'; '.join(phrases)}{note}"


def _nic(nic: dict[str, Any]) -> str:
    reach = {None: "", True: "reachable", False: "**cut off**"}[nic["reachable"]]
    return ", ".join(word for word in (reach, nic["port"], nic["entry"]) if word)


if __name__ == "__main__":
    sys.exit(main())
