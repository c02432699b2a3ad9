"""What an `EventSocket` hears of a command: that is queued when it is answered, before what is made after it."""

from __future__ import annotations

import select
from collections.abc import Iterable

from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import Event, LinkEvent
from tests.netns.conftest import Namespace


def heard(ns: Namespace, events: EventSocket) -> list[Event]:
    """All that was told so far, and a bridge named ``mark`` that comes and goes behind it."""
    ns.ip("link add mark type bridge")
    ns.ip("link del mark")
    read: list[Event] = []
    while not any(event.gone for event in links(read, "mark", bridge_message=False)):
        assert select.select([events], [], [], 30)[0], "never told"
        read += events.read()
    return read


def links(read: Iterable[Event], name: str, bridge_message: bool) -> list[LinkEvent]:
    return [
        event
        for event in read
        if isinstance(event, LinkEvent) and event.name == name and event.bridge_message == bridge_message
    ]
