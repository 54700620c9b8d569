"""One run of a program: what it took."""

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import Failed, server_user

TOUCH_MEMORY = Path(__file__).with_name("touch_memory.py")


@dataclass(frozen=True)
class Figures:
    """What a run took, with all processes that the program has started."""

    # Seconds.
    wall: float
    user: float
    system: float
    # The largest process, in KiB.
    memory: int
    # What lies on disk afterwards, or went through the pipe.
    bytes: int

    @property
    def cpu(self) -> float:
        return self.user + self.system

    def as_dict(self) -> dict:
        return asdict(self) | {"cpu": self.cpu}


def measure(command: list, directory: Path, work: Path, pipe: bool, memory: int) -> Figures:
    """Runs a program that writes into the directory, and needs so many bytes of memory for that, or into a pipe whose
    reader drops what comes."""
    # What was left to be written must not be charged to this run.
    subprocess.run(["sync", "--file-system", str(work)], check=True)
    # In a process of its own: a large one that forks counts for more than it is.
    subprocess.run([sys.executable, TOUCH_MEMORY, str(memory)], check=True)
    measured, log = work / "measured", work / "run.log"
    timed = ["/usr/bin/time", "--format=%e %U %S %M", f"--output={measured}", *server_user(), *command]
    reader = subprocess.Popen(["wc", "--bytes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) if pipe else None
    with log.open("wb") as said:
        status = subprocess.call(
            [str(part) for part in timed],
            stdin=subprocess.DEVNULL,
            stdout=reader.stdin if reader else subprocess.DEVNULL,
            stderr=said,
            cwd="/",
        )
    size = int(reader.communicate()[0]) if reader else size_of(directory)
    if status != 0:
        raise Failed(f"{command[0]} failed; it said: {log.read_text()}")
    wall, user, system, memory = measured.read_text().split()
    return Figures(float(wall), float(user), float(system), int(memory), size)


def size_of(directory: Path) -> int:
    if not directory.is_dir():
        return directory.stat().st_size if directory.exists() else 0
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
