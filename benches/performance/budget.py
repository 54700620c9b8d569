"""What a program executes, in numbers that do not depend on how busy the machine is: instructions, and system calls.

A budget is what was measured once, with some room. Whoever goes over it has made something slower, or has a reason and
records a new one.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import Failed, server_user

# How far a figure may be above its budget: by a factor, and by a number beside it. The runtime and the threads make a
# handful of calls more or less from run to run.
ROOM = {"instructions": (1.05, 0), "file_calls": (1.02, 20)}

# Those that move data or wait for some are not counted: how much comes with one read depends on the other side.
FILE_CALLS = {
    "openat", "openat2", "close", "fchmod", "fchmodat", "mkdir", "mkdirat", "fstat", "newfstatat", "statx", "fsync",
    "fdatasync", "syncfs", "fadvise64", "sync_file_range", "fallocate", "ftruncate", "lseek", "fcntl", "rename",
    "renameat", "renameat2", "unlink", "unlinkat", "symlinkat", "linkat", "getdents64",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one run of a program amounts to."""

    # All of them in user space, in millions.
    instructions: float
    # System calls on files and directories.
    file_calls: int

    def over(self, budget: dict) -> list[str]:
        """What of it is over the budget, in words."""
        return [
            f"{name}: {value:.0f}, and the budget is {budget[name]:.0f}"
            for name, value in asdict(self).items()
            if value > budget[name] * ROOM[name][0] + ROOM[name][1]
        ]


def count(command: Callable[[], list], directory: Path, log: Path) -> Work:
    """Runs a command twice, once under Valgrind and once under strace. It writes into the directory, which is gone
    afterwards."""
    counted = log.with_suffix(".calls")
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    said = _run([*valgrind, *command()], directory, log)
    instructions = re.findall(r"I\s+refs:\s+([\d,]+)", said)
    _run(["strace", "-f", "-c", "-U", "calls,name", "-o", counted, *command()], directory, log)
    calls = dict(_calls(counted.read_text()))
    return Work(
        instructions=sum(int(number.replace(",", "")) for number in instructions) / 1e6,
        file_calls=sum(calls.get(name, 0) for name in FILE_CALLS),
    )


def read_budgets(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def write_budgets(path: Path, measured: dict[str, Work]) -> None:
    budgets = {name: {key: round(value) for key, value in asdict(work).items()} for name, work in measured.items()}
    path.write_text(json.dumps(budgets, indent=2) + "\n")


def _run(command: list, directory: Path, log: Path) -> str:
    with log.open("wb") as said:
        status = subprocess.call(
            [str(part) for part in (*server_user(), *command)], stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/"
        )
    shutil.rmtree(directory, ignore_errors=True)
    if status != 0:
        raise Failed(f"{command[-1]} failed; it said: {log.read_text()}")
    return log.read_text()


def _calls(table: str):
    for line in table.splitlines():
        if match := re.fullmatch(r"\s*(\d+)\s+(\w+)", line):
            yield match[2], int(match[1])
