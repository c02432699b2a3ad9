"""The kernel edge: the only part of macmgr that speaks netlink, and the only one that imports pyroute2."""

from macmgr.kernel.edge import Kernel, Refusal

__all__ = ["Kernel", "Refusal"]
