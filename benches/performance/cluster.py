"""A PostgreSQL server with something to back up, in a directory that goes away with it."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

# What "full" has, and "small" a tenth of.
FULL = {"pgbench": 50, "text": 600_000, "bytes": 350_000, "tables": 1_500}


class Failed(Exception):
    """Something that cannot be gone on without; the message is for people."""


def server_user() -> list[str]:
    """What commands begin with that run as the server does: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


def run(command: list, **options) -> str:
    """Runs a command to its end and gives what it printed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failed(f"{command[0]} failed; it said: {done.stderr or done.stdout}")
    return done.stdout.strip()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class WorkDirectory:
    """A directory on a real disk, owned by the server's user.

    ext4 is slow at making files where many were removed within the last minutes, and charges the client for it. So runs
    lie in directories that it spreads over the disk, and nothing is removed before the end.
    """

    def __init__(self, parent: str):
        self.path = Path(tempfile.mkdtemp(prefix="pgsiphon-bench.", dir=parent))
        self.path.chmod(0o755)
        self.runs = self.path / "runs"
        self.runs.mkdir()
        if shutil.which("chattr"):
            subprocess.run(["chattr", "+T", str(self.runs)], stderr=subprocess.DEVNULL, check=False)
        for directory in (self.path, self.runs):
            self.give(directory)

    def give(self, path: Path) -> None:
        """Makes the server's user own it."""
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def empty_files(self) -> None:
        """Makes room without removing a file."""
        for directory, _, names in os.walk(self.runs):
            for name in names:
                file = os.path.join(directory, name)
                if not os.path.islink(file) and os.path.getsize(file) > 0:
                    os.truncate(file, 0)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Cluster:
    """A server that is filled without WAL and without syncing, and then started with ordinary settings."""

    def __init__(self, work: WorkDirectory, programs: Path, name: str, scale: float):
        self.work, self.programs, self.name = work, programs, name
        self.data = work.path / name
        self.port = free_port()
        self.socket = work.path / f"socket-{name}"
        self.socket.mkdir()
        work.give(self.socket)
        self._initialize()
        self._start("-c fsync=off -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB")
        try:
            self._fill_small(scale) if name == "small" else self._fill_mixed(scale)
        finally:
            self.stop("fast")
        self._make_certificate()
        sizes = [file.stat().st_size for file in self.data.rglob("*") if self._counts(file)]
        self.size = sum(sizes)
        self.description = f"{self.size / 1e9:.2f} GB in {len(sizes)} files"
        self._start("-c ssl=on -c listen_addresses=127.0.0.1")

    def conninfo(self, tls: bool) -> str:
        """Over a Unix socket, or encrypted over TCP."""
        if tls:
            return f"host=127.0.0.1 port={self.port} user=postgres sslmode=require"
        return f"host={self.socket} port={self.port} user=postgres"

    def stop(self, mode: str) -> None:
        if (self.data / "postmaster.pid").exists():
            self._as_server("pg_ctl", "stop", "--pgdata", self.data, "--mode", mode, "--silent")

    def _counts(self, file: Path) -> bool:
        return file.is_file() and self.data / "pg_wal" not in file.parents

    def _as_server(self, program: str, *arguments) -> str:
        # A server that is started keeps the descriptors that it inherits.
        command = [*server_user(), self.programs / program, *arguments]
        log = self.work.path / f"{program}.log"
        with log.open("wb") as output:
            done = subprocess.run([str(part) for part in command], stdout=output, stderr=output, cwd="/")
        if done.returncode != 0:
            raise Failed(f"{program} failed; it said: {log.read_text()}")
        return log.read_text()

    def _initialize(self) -> None:
        self._as_server(
            "initdb", "--pgdata", self.data, "--username=postgres", "--auth=trust", "--no-locale",
            "--encoding=UTF8", "--no-sync",
        )  # fmt: skip

    def _start(self, settings: str) -> None:
        always = f"-c unix_socket_directories='{self.socket}' -c port={self.port} -c autovacuum=off"
        if "listen_addresses" not in settings:
            always += " -c listen_addresses="
        self._as_server(
            "pg_ctl", "start", "--pgdata", self.data, "--log", self.data.with_suffix(".log"), "--silent", "--wait",
            f"--options={always} {settings}",
        )  # fmt: skip

    def _make_certificate(self) -> None:
        key, certificate = self.data / "server.key", self.data / "server.crt"
        run([
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
            "-keyout", key, "-out", certificate,
        ])  # fmt: skip
        key.chmod(0o600)
        for file in (key, certificate):
            self.work.give(file)

    def _fill_mixed(self, scale: float) -> None:
        """Tables of pgbench, text that compresses, bytes that do not, and small tables."""
        run([
            self.programs / "pgbench", "--initialize", "--quiet", f"--scale={round(FULL['pgbench'] * scale)}",
            *self._database(),
        ])  # fmt: skip
        self.sql(f"""
            CREATE TABLE text_that_compresses AS
              SELECT n AS id, repeat(md5((n % 1000)::text), 20) AS body FROM generate_series(1, {FULL['text'] * scale:.0f}) n;
            CREATE TABLE bytes_that_do_not AS
              SELECT n AS id, (SELECT string_agg(sha512(int8send(n * 16 + piece)), '') FROM generate_series(0, 15) piece)
                AS body FROM generate_series(1, {FULL['bytes'] * scale:.0f}::bigint) n;""")
        self._small_tables(round(FULL["tables"] * scale))

    def _fill_small(self, scale: float) -> None:
        """20,000 small relations."""
        self._small_tables(round(6_667 * scale))

    def _small_tables(self, count: int) -> None:
        """Each is three relations, and as many files: the table, its TOAST table, and the index of that one."""
        self.sql(f"""
            SELECT format('CREATE TABLE small_%s AS SELECT n AS id, md5(n::text) AS body FROM generate_series(1, 50) n',
              number) FROM generate_series(1, {count}) number \\gexec""")

    def sql(self, text: str) -> str:
        """Runs it, and gives what it returns."""
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        return run([self.programs / "psql", *options, *self._database()], input=text)

    def _database(self) -> list:
        return ["--host", self.socket, "--port", self.port, "--username=postgres", "postgres"]
