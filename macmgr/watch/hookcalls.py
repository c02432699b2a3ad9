"""Answers the hooks that hand their work over to the daemon, while libvirt waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from macmgr.errors import MacmgrError, XmlError
from macmgr.hook.work import read_call
from macmgr.model.hookcall import HookCall
from macmgr.wanted import WaitingCall
from macmgr.watch.daemonlog import DaemonLog

Ticket = asyncio.Future[tuple[bool, str]]

# Input of a hook up to this size is parsed in the loop; megabytes would take longer than others can wait.
_SMALL = 65536


async def answered(
    call: HookCall,
    data: bytes,
    waits: Callable[[], bool],
    limit: float,
    take: Callable[[WaitingCall, Ticket], None],
    log: DaemonLog,
) -> tuple[bool, str] | None:
    """Returns the answer of a round that did the call's work within ``limit`` seconds; None: the hook must do it.

    ``take`` passes the call on to the next round, which answers its ticket.
    """
    ticket: Ticket = asyncio.get_running_loop().create_future()
    answer, timed_out = None, False
    try:
        async with asyncio.timeout(limit):
            given = read_call(call, data) if len(data) <= _SMALL else await asyncio.to_thread(read_call, call, data)
            take(WaitingCall(call, given, waits), ticket)
            answer = done, text = await ticket
    except XmlError as error:
        answer = done, text = False, str(error)
    except MacmgrError as error:
        done, text = False, f"{error}; the hook does it itself"
    except TimeoutError:
        done, text, timed_out = False, f"not done after {limit:g} s; the hook does it itself", True
    log.hook(call, done, text, timed_out=timed_out)
    return answer


def settle(ticket: Ticket, answer: tuple[bool, str] | MacmgrError) -> None:
    """Gives a waiting call its answer, unless the hook has given up meanwhile."""
    if ticket.done():
        return
    if isinstance(answer, MacmgrError):
        ticket.set_exception(answer)
    else:
        ticket.set_result(answer)
