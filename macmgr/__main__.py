"""`python -m macmgr`."""

from macmgr.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
