#!/usr/bin/env python3
"""Touches so many bytes of memory that nobody uses, and gives them back: `touch_memory.py BYTES`.

A virtual machine may have given unused memory back to its host. Whichever program is the first to need it again is
charged for having it handed out anew, by far more than for what it does with it."""

import mmap
import sys
from pathlib import Path


def free() -> int:
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemFree"].split()[0]) << 10


def touch(size: int) -> None:
    if size > 0:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


if __name__ == "__main__":
    touch(min(int(sys.argv[1]), free() // 2))
