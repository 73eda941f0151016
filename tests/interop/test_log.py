"""The log in the hands of others: a reader of C2SP tiles (`aics-tlog`), and a witness (`witness-log`)."""

import base64
import contextlib
import json
import pathlib
import subprocess
import sys
import types
import unittest

import aics_tlog

from support.agent import Agent
from support.copies import CHECKPOINT, Copy, grown_beyond, sink_vkey
from support.outside import Outside, ask, serving
from support.system import CommandFailed, the_system
from support.wait import until

TIMEOUT_SECONDS = 60
PROOF_HEADER = "c2sp.org/tlog-proof@v1"


class Reader(unittest.IsolatedAsyncioTestCase):
    """aics-tlog: pure Python, by people who know nothing of us."""

    def setUp(self):
        self.system = the_system()
        Agent(self.system)
        self.vkey = sink_vkey(self.system)

    def command(self, *arguments):
        """Its command line: exit code and document."""
        command = [sys.executable, "-m", "aics_tlog", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        return done.returncode, json.loads(done.stdout)

    def key(self):
        return ["--log-key", aics_tlog.format_vkey(self.vkey)]

    def audit(self, copy):
        """Everything that it can check of a copy; raises where it refuses."""
        note = aics_tlog.parse_note(copy.path(CHECKPOINT).read_bytes())
        verified = aics_tlog.verify_checkpoint(note, self.vkey, expected_origin=f"{self.system.domain}/audit")
        if not verified.ok:
            raise ValueError(verified.error)
        aics_tlog.audit_tiles(copy.reader, verified.size, verified.root)
        return verified

    async def test_accepts_an_exported_log(self):
        copy = Copy(self.system)
        verified = self.audit(copy)
        self.assertEqual((verified.size, verified.root), (copy.size, copy.checkpoint.root))
        code, said = self.command("verify-checkpoint", "--tiles", copy.folder, *self.key())
        self.assertEqual((code, said["ok"]), (0, True), said)
        code, said = self.command("verify-inclusion", "--tiles", copy.folder, "--index", copy.size - 1, *self.key())
        self.assertEqual((code, said["ok"]), (0, True), said)

    async def test_refuses_a_flipped_byte_of_every_file(self):
        copy = Copy(self.system).twin()
        for path in copy.files():
            good = path.read_bytes()
            for at in {0, len(good) // 2, len(good) - 1}:
                touched = bytearray(good)
                touched[at] ^= 1
                path.write_bytes(touched)
                with self.assertRaises((ValueError, OSError), msg=f"{path.name} byte {at}"):
                    self.audit(copy)
            path.write_bytes(good)
        self.audit(copy)

    async def test_accepts_that_the_log_has_grown(self):
        older = Copy(self.system)
        Agent(self.system)
        newer = await grown_beyond(self.system, older.size)
        code, said = self.command("verify-consistency", "--tiles", newer.folder, "--old-checkpoint",
                                  older.path(CHECKPOINT), *self.key())
        self.assertEqual((code, said["ok"]), (0, True), said)
        # And our own command says the same of the same two files.
        ours = self.system.marque("log", "verify", str(newer.folder), "--from", str(older.path(CHECKPOINT)))
        self.assertEqual(ours["report"]["leaves_checked"], newer.size - older.size)

    async def test_reads_what_log_serve_serves(self):
        copy = Copy(self.system)
        with served(self.system, copy) as url:
            reader = aics_tlog.HttpTileReader([url])
            verified = aics_tlog.verify_checkpoint(aics_tlog.parse_note(reader.read_checkpoint()), self.vkey)
            self.assertTrue(verified.ok, verified.error)
            aics_tlog.audit_tiles(reader, verified.size, verified.root)

    async def test_accepts_a_proof_of_ours(self):
        # The enrolment's record, as it is in the log.
        records = await until(lambda: self.system.records(kind="issued"), "the enrolment is in the log")
        row = records[-1]
        text = self.system.marque("audit", "prove", row["record"]["id"])["proof"]
        entry, index, hashes, note = read_proof(text)
        self.assertEqual(index, row["leaf"])
        verified = aics_tlog.verify_checkpoint(aics_tlog.parse_note(note), self.vkey)
        self.assertTrue(verified.ok, verified.error)
        inside = (index, verified.size, hashes, verified.root)
        self.assertTrue(aics_tlog.verify_leaf_inclusion(entry, *inside))
        self.assertFalse(aics_tlog.verify_leaf_inclusion(entry + b"x", *inside))


class Witness(unittest.IsolatedAsyncioTestCase):
    """witness-log: an outside witness that keeps us from showing two logs."""

    def setUp(self):
        self.system = the_system()
        Agent(self.system)
        self.vkey = sink_vkey(self.system)
        text = aics_tlog.format_vkey(self.vkey)
        self.witness = Outside("witness.example", types.SimpleNamespace(name=self.vkey.name, text=text))
        self.policy = pathlib.Path(self.system.folder) / f"{self.id()}.policy"
        self.policy.write_text(f"log {text}\nwitness outside {self.witness.vkey}\nquorum outside\n")

    def verify(self, copy):
        return self.system.marque("log", "verify", str(copy.folder), "--policy", str(self.policy))

    async def test_cosigns_our_checkpoints_as_the_log_grows(self):
        older = Copy(self.system)
        with self.assertRaises(CommandFailed, msg="nobody has cosigned it yet"):
            self.verify(older)
        with serving(self.witness) as address:
            status, line = ask(address, 0, [], older.note.serialise())
            self.assertEqual(status, 200, line)
            Agent(self.system)
            newer = await grown_beyond(self.system, older.size)
            proof = aics_tlog.consistency_proof_from_tiles(newer.reader, older.size, newer.size)
            # It tells where it stands, and takes no proof that does not lead there.
            status, said = ask(address, 0, [], newer.note.serialise())
            self.assertEqual((status, said), (409, f"{older.size}\n"))
            status, said = ask(address, older.size, [bytes(32)] * len(proof), newer.note.serialise())
            self.assertEqual(status, 422, said)
            status, line = ask(address, older.size, proof, newer.note.serialise())
            self.assertEqual(status, 200, line)
        newer.path(CHECKPOINT).write_text(newer.note.serialise() + line)
        verified = self.verify(newer)
        self.assertEqual([seen["witness"] for seen in verified["report"]["witnesses"]], ["outside"])
        # The reader that others wrote counts it too.
        note = aics_tlog.parse_note(newer.path(CHECKPOINT).read_bytes())
        counted = aics_tlog.verify_checkpoint(note, self.vkey, [aics_tlog.parse_vkey(self.witness.vkey)], 1)
        self.assertTrue(counted.ok, counted.error)

    async def test_does_not_cosign_what_the_log_did_not_sign(self):
        copy = Copy(self.system)
        forged = copy.note.serialise().replace(f"\n{copy.size}\n", f"\n{copy.size + 1}\n", 1)
        with serving(self.witness) as address:
            status, said = ask(address, 0, [], forged)
            self.assertEqual(status, 403, said)
            foreign = copy.note.serialise().replace("/audit\n", "/other\n", 1)
            status, said = ask(address, 0, [], foreign)
            self.assertEqual(status, 404, said)


@contextlib.contextmanager
def served(system, copy):
    """The page of `marque log serve` on a copy."""
    process = system.begin("log", "serve", str(copy.folder))
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(TIMEOUT_SECONDS)
        process.stdout.close()


def read_proof(text):
    """A tlog-proof, read by the specification alone: entry, index, hashes, note."""
    head, note = text.split("\n\n", 1)
    first, extra, index, *hashes = head.split("\n")
    assert first == PROOF_HEADER and extra.startswith("extra ") and index.startswith("index ")
    return (base64.b64decode(extra.removeprefix("extra ")), int(index.removeprefix("index ")),
            [base64.b64decode(one) for one in hashes], note)
