"""One step towards the intent, as a record that can be executed and printed.

A change holds the world before and after it. Only `requests` turns it into netlink messages, so the printed plan and
the executed plan are the same list. `requests` also handles what the kernel cannot do in one message: no request
touches VID 0 alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

from macmgr.model.codes import Code
from macmgr.model.flags import Flag, PortFlags, with_flag
from macmgr.model.snapshot import Entry, EntryState
from macmgr.model.vids import PortVids, runs


@dataclass(frozen=True, slots=True)
class SetFlags:
    """Sets flags of one bridge port: it is its own request, one RTM_SETLINK (AF_BRIDGE, IFLA_PROTINFO).

    Fields equal on both sides are not sent.
    """

    port: str
    before: PortFlags
    after: PortFlags
    bridge: str = ""
    domain: str | None = None
    because: Code | None = None
    why: str = ""

    @property
    def closes(self) -> bool:
        """Frames that used to reach the guest now need an FDB entry, or a source MAC of its own."""
        return any(flag.shut is not None and value == flag.shut for flag, value in self.named())

    def named(self) -> list[tuple[Flag, bool]]:
        values = ((flag, self.after.value(flag)) for flag in self.before.differing(self.after))
        return [(flag, value) for flag, value in values if value is not None]


@dataclass(frozen=True, slots=True)
class SetEntries:
    """Replaces the bridge's FDB entries for one MAC, in the VIDs named by ``before`` and ``after``.

    A VID in ``after`` is put (moved, if it is on another port). A VID only in ``before`` is dropped. If VID 0 is put or
    dropped, both sides must name all VIDs of the port: the kernel treats a request without a VID as one for VID 0 and
    every VID of the port (br_fdb_add, br_fdb_delete).

    ``stranded``: the port no longer carries the VIDs of ``before``, so no request can name an entry there (EINVAL). A
    put on the port ``by``, which does carry them, and a deletion there clear it. Without such a port, a flush removes
    all static entries of the port in the VID.
    """

    mac: str
    before: tuple[Entry, ...]
    after: tuple[Entry, ...]
    bridge: str = ""
    domain: str | None = None
    because: Code | None = None
    stranded: bool = False
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class SetVids:
    """Sets the VIDs of one bridge port. What both sides say of a VID is left as it is.

    The port leaves VLANs before it comes into others: it is in none that is not on the side of ``after``.

    ``entries`` are static ones of the port in VIDs that it leaves. A static entry stays in such a VID, where it keeps
    frames from every other port. So each becomes dynamic first, and goes along with its VID.
    """

    port: str
    before: PortVids
    after: PortVids
    bridge: str = ""
    domain: str | None = None
    because: Code | None = None
    why: str = ""
    entries: tuple[Entry, ...] = ()

    @property
    def undone(self) -> SetVids:
        """Returns the change that undoes this one, whatever part of it was made."""
        return replace(self, before=self.after, after=self.before)


Change = SetFlags | SetEntries | SetVids


def reason(change: Change) -> str:
    """Returns the reason for a change: ``why``, or the words of ``because``, the code of its finding."""
    return change.why or (change.because.why if change.because else "")


def ports_of(change: Change) -> frozenset[str]:
    """Returns the ports that a change is about, with those that entries move away from."""
    if not isinstance(change, SetEntries):
        return frozenset({change.port})
    return frozenset(entry.port for entry in (*change.before, *change.after))


@dataclass(frozen=True, slots=True)
class DeleteEntry:
    """RTM_DELNEIGH, NTF_MASTER. ``vid`` None: VID 0 and every VID of the port."""

    port: str
    mac: str
    vid: int | None


@dataclass(frozen=True, slots=True)
class FlushEntries:
    """RTM_DELNEIGH, NLM_F_BULK (Linux 5.19), NTF_MASTER: the static entries of one port in one VID.

    It always names port, VID and state: for the kernel the host's own addresses are static too. Local entries stay, and
    so do entries of another control plane (extern_learn).
    """

    port: str
    vid: int


@dataclass(frozen=True, slots=True)
class DeleteVids:
    """RTM_DELLINK, AF_BRIDGE: a port leaves the VLANs of a run of VIDs. The kernel says nothing of VIDs not there."""

    port: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class AddVids:
    """RTM_SETLINK, AF_BRIDGE: a port carries a run of VIDs. Without ``pvid``, none of them is the PVID any more."""

    port: str
    first: int
    last: int
    pvid: bool = False
    untagged: bool = False


Request = Entry | DeleteEntry | FlushEntries | SetFlags | DeleteVids | AddVids
"""An entry is put as it is: RTM_NEWNEIGH, CREATE|REPLACE, NTF_MASTER. Its VID 0 is VID 0 and every VID of the port."""


def one_flag_each(change: SetFlags) -> tuple[SetFlags, ...]:
    """Splits a change into one request for each flag, for a port whose driver refuses several at once."""
    return tuple(replace(change, after=with_flag(change.before, flag, value)) for flag, value in change.named())


def requests(change: Change) -> Iterator[Request]:
    if isinstance(change, SetFlags):
        yield change
    elif isinstance(change, SetVids):
        yield from _vid_requests(change)
    elif change.stranded:
        for entry in change.before:
            if change.by:
                # Put a dynamic entry: if the deletion never comes, the entry ages, and a frame moves it.
                yield Entry(entry.mac, entry.vid, change.by, EntryState.DYNAMIC)
                yield DeleteEntry(change.by, entry.mac, entry.vid)
            else:
                yield FlushEntries(entry.port, entry.vid)
    else:
        yield from _entry_requests(change)


def _vid_requests(change: SetVids) -> Iterator[Request]:
    has, wanted = change.before.carried, change.after.carried
    entries = change.entries
    yield from (each._replace(state=EntryState.DYNAMIC, sticky=False) for each in entries if each.vid not in wanted)
    for first, last in runs(vid for vid in has if vid not in wanted):
        yield DeleteVids(change.port, first, last)
    for pvid, untagged in ((True, True), (True, False), (False, True), (False, False)):
        missing = (vid for vid, how in wanted.items() if how == (pvid, untagged) and has.get(vid) != how)
        for first, last in runs(missing):
            yield AddVids(change.port, first, last, pvid, untagged)
    yield from (each for each in entries if each.vid in wanted)  # undone


def _entry_requests(change: SetEntries) -> Iterator[Request]:
    after = {entry.vid: entry for entry in change.after}
    gone = [entry for entry in change.before if entry.vid not in after]
    vid0_gone = next((entry for entry in gone if entry.vid == 0), None)
    if vid0_gone:
        # A deletion without a VID answers OK if it found at least one copy. So copies that the port's VIDs may not
        # cover are deleted first, by name. Copies that stay are put back right after.
        for entry in gone:
            if entry.vid:
                yield DeleteEntry(entry.port, change.mac, entry.vid)
        yield DeleteEntry(vid0_gone.port, change.mac, None)
    every_vid = after.get(0)
    if every_vid:
        yield every_vid
    for vid, entry in sorted(after.items()):
        if vid and not (every_vid and every_vid._replace(vid=vid) == entry):
            yield entry
    if not vid0_gone:
        for entry in gone:
            yield DeleteEntry(entry.port, change.mac, entry.vid)


def typed(request: Request) -> str:
    """Returns the command quoted for a shell, on one line: an interface name may hold special characters."""
    return shlex.join(bridge_command(request))


def bridge_command(request: Request) -> list[str]:
    if isinstance(request, SetFlags):
        words = ["bridge", "link", "set", "dev", request.port]
        for flag, value in request.named():
            words += [flag.bridge_word, "on" if value else "off"]
        return words
    if isinstance(request, DeleteVids | AddVids):
        run = str(request.first) if request.first == request.last else f"{request.first}-{request.last}"
        if isinstance(request, DeleteVids):
            return ["bridge", "vlan", "del", "dev", request.port, "vid", run]
        how = ["pvid"] * request.pvid + ["untagged"] * request.untagged
        return ["bridge", "vlan", "add", "dev", request.port, "vid", run, *how]
    if isinstance(request, FlushEntries):
        place = ["dev", request.port, "vlan", str(request.vid)]
        return ["bridge", "fdb", "flush", *place, "master", "static", "noextern_learn"]
    verb = "replace" if isinstance(request, Entry) else "del"
    words = ["bridge", "fdb", verb, request.mac, "dev", request.port]
    if request.vid:
        words += ["vlan", str(request.vid)]
    words.append("master")
    if isinstance(request, Entry):
        words.append(str(request.state))
        words += ["sticky"] * request.sticky + ["extern_learn"] * request.extern_learn
    return words
