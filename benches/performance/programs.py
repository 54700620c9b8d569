"""The programs that are measured, and those that measuring takes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from cluster import Failed, WorkDirectory, run

PROJECT = Path(__file__).resolve().parents[2]


def forget_postgres_environment() -> None:
    """Settings of the caller, such as PGHOST or PGOPTIONS, must not lead anywhere else."""
    for name in list(os.environ):
        if name.startswith("PG") and not name.startswith("PGSIPHON_"):
            del os.environ[name]
    os.environ["LC_ALL"] = "C.UTF-8"


def install_postgres() -> Path:
    """Once it is there, the installation says in one line where."""
    installer = PROJECT / "scripts/install-postgres"
    subprocess.run([installer, "18"], check=True, stdout=subprocess.DEVNULL)
    programs = Path(run([installer, "18"]).splitlines()[-1].split(" in ")[-1])
    os.environ["LD_LIBRARY_PATH"] = str(programs.parent / "lib")
    return programs


def install_packages(*programs: str) -> None:
    """Debian's packages of these names, for the programs of the same names that are missing."""
    missing = [program for program in programs if not shutil.which(program)]
    install = ["apt-get", "install", "--yes", "--quiet", *missing]
    if not missing or subprocess.run(install, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "--quiet"], check=False)
    if subprocess.run(install, check=False).returncode != 0:
        raise Failed(f"this needs {', '.join(missing)}, of the Debian packages of these names")


def build() -> Path:
    """Where the programs of the project are then."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "pgsiphon", "--example", "backup_floor"]
    subprocess.run(command, cwd=PROJECT, check=True)
    metadata = run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=PROJECT)
    return Path(json.loads(metadata)["target_directory"]) / "release"


def install_under(work: WorkDirectory, built: Path) -> Path:
    """Puts them where the server's user can run them."""
    directory = work.path / "bin"
    directory.mkdir()
    run(["install", "-m", "755", built / "pgsiphon", built / "examples/backup_floor", directory])
    for name in ("pg_basebackup", "pg_receivewal"):
        (directory / name).symlink_to("pgsiphon")
    return directory
