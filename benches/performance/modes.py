"""What is measured: the modes of a base backup, with the ratios that are aimed at."""

from dataclasses import dataclass

# Where the output of a mode goes, besides a directory.
PIPE = "pipe"


@dataclass(frozen=True)
class Target:
    """The highest ratio of pgsiphon to the original that is aimed at; None where no such aim is."""

    wall: float | None = None
    cpu: float | None = None
    bytes: float | None = None


@dataclass(frozen=True)
class Mode:
    """One way to take a backup."""

    key: str
    name: str
    options: tuple[str, ...]
    target: Target
    # What the floor does with the stream, and what it lets the server compress with.
    floor: str = "discard"
    server_compression: str = ""
    # Which of the clusters is backed up.
    cluster: str = "mixed"
    output: str = "directory"
    tls: bool = False


def plain(*options: str) -> tuple[str, ...]:
    return ("--format=plain", *options)


def tar(*options: str) -> tuple[str, ...]:
    return ("--format=tar", *options)


ALONE = ("--wal-method=none", "--no-sync")
SYNCED = ("--wal-method=stream",)

MODES = (
    Mode("plain", "plain, no sync", plain(*ALONE), Target(0.85, 0.75), "store"),
    Mode("plain-synced", "plain, `-X stream`, synced", plain(*SYNCED), Target(0.60, 0.80), "sync"),
    Mode("small", "plain, 20,000 small relations", plain(*ALONE), Target(), "store", cluster="small"),
    Mode(
        "small-synced",
        "plain, 20,000 small relations, synced",
        plain(*SYNCED),
        Target(0.60, 0.80),
        "sync",
        cluster="small",
    ),
    Mode("tar", "tar to file, no sync", tar(*ALONE), Target(0.90, 0.90), "store"),
    Mode("tar-synced", "tar to file, `-X stream`, synced", tar(*SYNCED), Target(0.65, 0.90), "sync"),
    Mode("stdout", "tar to standard output", tar(*ALONE), Target(1.00, 0.90), output=PIPE),
    Mode("gzip", "tar, client gzip", tar(*ALONE, "--compress=client-gzip"), Target(0.20, 0.30, 1.03)),
    Mode("zstd", "tar, client zstd", tar(*ALONE, "--compress=client-zstd"), Target(0.60, 1.00)),
    Mode("lz4", "tar, client lz4", tar(*ALONE, "--compress=client-lz4"), Target(0.70, 0.90)),
    Mode(
        "from-lz4",
        "plain from server lz4",
        plain(*ALONE, "--compress=server-lz4"),
        Target(0.75, 0.85),
        server_compression="lz4",
    ),
    Mode(
        "from-zstd",
        "plain from server zstd",
        plain(*ALONE, "--compress=server-zstd"),
        Target(1.00, 0.85),
        server_compression="zstd",
    ),
    Mode("tls", "plain over TLS", plain(*ALONE), Target(0.95, 0.85), tls=True),
)
