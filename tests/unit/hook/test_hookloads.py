"""`macmgr hook` loads little before its fork: until then nobody but a clock keeps the limit, and libvirt waits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parents[3]
AT_THE_FORK = """\
import os
import sys

before = set(sys.modules)

def fork():
    os.write(1, " ".join(sys.modules.keys() - before).encode())
    os._exit(0)

os.fork = fork
sys.argv = ["macmgr", "hook", "qemu", "web1", "started", "begin", "-"]
from macmgr.__main__ import main

main()
"""


def test_no_library_and_no_reader_is_loaded_before_the_fork() -> None:
    words = [sys.executable, "-c", AT_THE_FORK]
    said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=TOP)
    loaded = {tuple(name.split(".")[:2]) for name in said.stdout.split()}
    assert {first for first, *_ in loaded} - sys.stdlib_module_names == {"macmgr"}
    ours = {name[1] for name in loaded if name[0] == "macmgr" and len(name) > 1}
    assert ours == {
        "__main__",
        "config",
        "errors",
        "hook",
        "model",
        "oneline",
        "options",
        "paths",
        "safefiles",
        "tomllines",
    }
