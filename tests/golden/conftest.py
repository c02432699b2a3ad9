"""The cases as hosts, on which `macmgr` is typed."""

from tests.cli.conftest import host as host
