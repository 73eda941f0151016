"""Copies of the log, and the sink's key in the spelling of a C2SP `vkey`."""

import pathlib
import shutil
import tempfile

import aics_tlog

from .keys import Key
from .wait import until

CHECKPOINT = "checkpoint"


def sink_vkey(system):
    """Out of the sink's own key file: no file of the log, and no service, is asked for it."""
    key = Key.read(system.directory / "keys" / "sink.key")
    return aics_tlog.vkey_from_ed25519(f"{system.domain}/audit", bytes(key.signing.verify_key))


class Copy:
    """An exported log."""

    def __init__(self, system):
        self.system = system
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="copy-", dir=system.folder))
        system.marque("log", "export", str(self.folder))
        self.note = aics_tlog.parse_note(self.path(CHECKPOINT).read_bytes())
        self.checkpoint = aics_tlog.parse_checkpoint(self.note.text)

    def path(self, name):
        return self.folder / name

    @property
    def size(self):
        return self.checkpoint.size

    @property
    def reader(self):
        return aics_tlog.FileSystemTileReader(self.folder)

    def files(self):
        """The tiles, bundles and the checkpoint."""
        return [self.path(CHECKPOINT), *sorted(path for path in self.path("tile").rglob("*") if path.is_file())]

    def twin(self):
        """The same files elsewhere, to be touched."""
        twin = Copy.__new__(Copy)
        twin.system, twin.note, twin.checkpoint = self.system, self.note, self.checkpoint
        twin.folder = pathlib.Path(tempfile.mkdtemp(prefix="twin-", dir=self.system.folder)) / "copy"
        shutil.copytree(self.folder, twin.folder)
        return twin


async def grown_beyond(system, size):
    """A copy of more leaves; what makes them is the caller's."""

    def larger():
        copy = Copy(system)
        return copy if copy.size > size else None

    return await until(larger, f"the log has more than {size} leaves")
