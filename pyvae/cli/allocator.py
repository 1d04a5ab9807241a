"""The way this process returns memory to the system."""

import ctypes
import sys

__all__ = ["keep_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MOST = 2**30


def keep_memory() -> None:
    """Let glibc keep up to a gibibyte of freed memory for the next step, instead of returning it at once.

    A training step asks for the same large blocks again and again. By default glibc returns them to the system when
    they are freed, and the system hands them out anew page by page, filled with zeros, which can take a third of a
    convolutional step. Concerns the whole process, so it is for programs to call, not for functions of a library.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # there is none in musl
        mallopt(_TRIM_THRESHOLD, _MOST)
        mallopt(_MMAP_THRESHOLD, _MOST)
