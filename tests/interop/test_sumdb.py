"""The log in the hands of Go's own reader of transparency logs: `golang.org/x/mod/sumdb`, by way of `sumdb/main.go`."""

import os
import pathlib
import subprocess
import unittest

import aics_tlog

from support.agent import Agent
from support.copies import Copy, sink_vkey
from support.system import the_system
from support.wait import until

TIMEOUT_SECONDS = 60
READER = pathlib.Path(os.environ["INTEROP_FOLDER"]) / "sumdb"


class GoReader(unittest.IsolatedAsyncioTestCase):
    """Verifies note, tiles and inclusion as the `go` command does those of the checksum database."""

    def setUp(self):
        self.system = the_system()
        Agent(self.system)
        self.vkey = aics_tlog.format_vkey(sink_vkey(self.system))

    def read(self, verb, path):
        """Size and root as it says them; none where it refuses."""
        command = [str(READER), verb, str(path), self.vkey]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        # It must have looked: a program that broke is no refusal.
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.stdout.strip() if done.returncode == 0 else None

    async def test_accepts_an_exported_log_and_refuses_a_flipped_byte_of_every_file(self):
        copy = Copy(self.system).twin()
        stated = " ".join(copy.note.text.split("\n")[1:3])
        self.assertEqual(self.read("log", copy.folder), stated)
        for path in copy.files():
            good = path.read_bytes()
            for at in {0, len(good) // 2, len(good) - 2}:
                touched = bytearray(good)
                touched[at] ^= 1
                path.write_bytes(touched)
                self.assertIsNone(self.read("log", copy.folder), f"{path.name} byte {at}")
            path.write_bytes(good)
        self.assertEqual(self.read("log", copy.folder), stated)

    async def test_accepts_a_proof_and_refuses_a_flipped_byte_of_it(self):
        records = await until(lambda: self.system.records(kind="issued"), "the enrolment is in the log")
        text = self.system.marque("audit", "prove", records[-1]["record"]["id"])["proof"].encode()
        file = pathlib.Path(self.system.folder) / f"{self.id()}.tlog-proof"
        file.write_bytes(text)
        checkpoint = text.split(b"\n\n", 1)[1].decode()
        self.assertEqual(self.read("proof", file), " ".join(checkpoint.split("\n")[1:3]))
        for at in range(0, len(text), max(1, len(text) // 60)):
            # Bits of the last digit before padding stand for nothing, and Go does not look at them.
            if text[at + 1:at + 2] == b"=":
                continue
            touched = bytearray(text)
            touched[at] ^= 1
            file.write_bytes(touched)
            self.assertIsNone(self.read("proof", file), f"byte {at}: {text[max(0, at - 20):at + 20]}")
