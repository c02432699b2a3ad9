"""What one tenant's XML costs: in proportion to its size up to the limits, and another guest's look nothing.

With libxml2 2.9.14 in its place (lxml 4.9.2) the figures are the same: it parses nothing of what a tenant writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from macmgr.errors import XmlError
from macmgr.readers.document import MAX_METADATA, read_with
from macmgr.readers.domain import read_domain, read_domain_status
from macmgr.readers.problems import check_document
from macmgr.sources.statusfiles import StatusFiles
from tests import crowd
from tests.bench.measure import Result, Side, compare

_OURS = "xmlns:m='urn:macmgr:mactable:1'"
_GUESTS = 100
_AT_ONCE = 4  # of what takes less than a millisecond


def tenants(directory: Path) -> Iterator[Result]:
    for what, of_size, many in (
        ("attributes in the metadata", _attributes, 40_000),
        ("elements in the metadata", _elements, 100_000),
        ("attributes of an element beside it", _attributes_beside, 40_000),
    ):
        for name, read in (("read", _read), ("validated", _validate)):
            yield _growth(f"{many:,} {what}, {name}", read, of_size, many)
    yield _beside_others(directory)


def _growth(what: str, read: Callable[[bytes], None], of_size: Callable[[int], bytes], many: int) -> Result:
    """Four times as much takes four times as long, or less: what is beyond a limit is not gone through."""
    small, large = of_size(many // 4), of_size(many)

    def repeated(data: bytes, times: int) -> Callable[[], None]:
        def work() -> None:
            for _ in range(times):
                read(data)

        return work

    ours = Side("the document", repeated(large, _AT_ONCE))
    return compare(what, 1.5, ours, Side(f"4 times one of {many // 4:,}", repeated(small, 4 * _AT_ONCE)), rounds=5)


def _beside_others(directory: Path) -> Result:
    """All status files read anew, with one that has all that the limits allow, and some of what they do not."""
    sides = []
    for name, evil in (("evil", True), ("good", False)):
        run_dir = directory / name / "libvirt"
        crowd.write_status_files(run_dir, [crowd.CrowdGuest(number) for number in range(1, _GUESTS + 1)])
        if evil:
            status = b"<domstatus state='running' pid='1'>%b</domstatus>"
            (run_dir / "qemu" / "evil.xml").write_bytes(status % _elements(100_000))
            (run_dir / "qemu" / "evil2.xml").write_bytes(status % _attributes(MAX_METADATA // 12))
        sides.append(Side(name, lambda run_dir=run_dir: StatusFiles(run_dir).read()))  # type: ignore[misc]
    what = f"status files of {_GUESTS} guests, beside two with metadata of 4 MB and of 256 KiB"
    # in proportion to their bytes, and cheaper for a byte than the others: of the larger one nothing is parsed
    return compare(what, 2.0, sides[0], Side("without the two", sides[1].work), rounds=15)


def _read(data: bytes) -> None:
    with suppress(XmlError):
        read_with(read_domain if data.startswith(b"<domain") else read_domain_status, data, "d.xml")


def _validate(data: bytes) -> None:
    check_document(data)


def _domain(metadata: str, beside: str = "") -> bytes:
    return f"<domain><name>d</name>{beside}<metadata>{metadata}</metadata><devices/></domain>".encode()


def _attributes(many: int) -> bytes:
    return _domain(f"<m:macTable {_OURS} {_unknown(many)}/>")


def _attributes_beside(many: int) -> bytes:
    return _domain("", f"<os {_unknown(many)}/>")


def _unknown(many: int) -> str:
    return " ".join(f"a{number:05}=''" for number in range(many))


def _elements(many: int) -> bytes:
    macs = (f"52:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}:00:00" for number in range(many))
    nics = "".join(f'<m:interface mac="{mac}"/>' for mac in macs)
    return _domain(f"<m:macTable {_OURS}>{nics}</m:macTable>")
