"""Large pages for the C heap: on a CPU, page faults cost more than the arithmetic of a small network.

PyTorch returns every large activation to the system and faults it in again a moment later. These settings keep the
memory in the process and back it with huge pages; glibc reads them when a process starts.
"""

from __future__ import annotations

import os
import sys

GLIBC_TUNABLES = ":".join(
    [
        "glibc.malloc.hugetlb=1",  # madvise huge pages
        "glibc.malloc.mmap_threshold=4294967296",  # large blocks from the heap, not from fresh mappings
        "glibc.malloc.trim_threshold=17179869184",  # and never handed back
        "glibc.malloc.top_pad=67108864",
    ]
)


def restart_tuned(arguments: list[str]) -> None:
    """Replace this process by the same command under the malloc settings, unless it has settings already."""
    if sys.platform != "linux" or "GLIBC_TUNABLES" in os.environ:
        return
    os.environ["GLIBC_TUNABLES"] = GLIBC_TUNABLES
    os.execv(sys.executable, [sys.executable, *arguments])
