"""Reading what the command line names."""

from pathlib import Path


def read(path: str | None) -> bytes | None:
    """The content of a file, or None where no file was named."""
    return None if path is None else Path(path).read_bytes()
