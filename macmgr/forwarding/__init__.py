"""Where a bridge forwards a frame, and why: a model of the kernel's rules. Pure; it imports the records only.

``tests/netns/test_forwarding.py`` proves it: on random bridges, the kernel and the model agree about each frame.
docs/forwarding.rst has the rules, and what the model does not know. `forward` answers for one frame.
"""

from macmgr.forwarding.forward import Answer as Answer
from macmgr.forwarding.forward import after as after
from macmgr.forwarding.forward import forward as forward
from macmgr.forwarding.frames import BROADCAST as BROADCAST
from macmgr.forwarding.frames import Frame as Frame
from macmgr.forwarding.reasons import Fate as Fate
from macmgr.forwarding.reasons import Learned as Learned
from macmgr.forwarding.reasons import Move as Move
from macmgr.forwarding.reasons import Reason as Reason
