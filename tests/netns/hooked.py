"""macmgr's hooks on a house, as `macmgr install` puts them there. What they start reads this host's configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from macmgr.installation import install_hooks
from tests.netns.house import House

# What the shims start where they do the work themselves: the real thing, with this host's configuration, and a trace.
_PROGRAM = """\
#!{python}
from pathlib import Path

from macmgr import paths

here = Path(__file__).parent
paths.CONFIG = here / "macmgr.toml"
(here / "itself").touch()

from macmgr.__main__ import main

raise SystemExit(main())
"""

HOOK = "[hook]\ntimeout = 20\n"  # a busy machine is no reason to give up


def install(host: House) -> Path:
    """The directory of QEMU's hooks, with the one that was installed."""
    program = host.root / "macmgr"
    program.write_text(_PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    list(install_hooks(host.root / "hooks", program))
    return host.root / "hooks" / "qemu.d"
