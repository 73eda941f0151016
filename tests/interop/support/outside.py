"""An outside witness, `witness-log`, behind a small HTTP server of the standard library (C2SP tlog-witness)."""

import base64
import contextlib
import http.client
import http.server
import os
import threading

from witness_log import _core

# What our own log sends is far smaller (C2SP tlog-witness: a note, and 63 hashes).
REQUEST_BYTES_MAX = 72 * 1024
TIMEOUT_SECONDS = 30
PATH = "/add-checkpoint"


class Outside:
    """A witness that knows these logs, and cosigns what goes on from what it has seen."""

    def __init__(self, name, *logs):
        self.service = _core.WitnessService.new(name, os.urandom(32))
        self.vkey = self.service.vkey()
        for log in logs:
            self.service.add_log(log.name, log.text)
        self.lock = threading.Lock()

    def answer(self, body):
        with self.lock:
            return self.service.handle_add_checkpoint_http(body)


@contextlib.contextmanager
def serving(witness):
    """Its submission prefix: `host:port`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            if self.path != PATH or length > REQUEST_BYTES_MAX:
                self.send_error(404)
                return
            status, kind, body = witness.answer(self.rfile.read(length).decode())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(address, old_size, proof, note):
    """A log's side of `add-checkpoint`: status and body."""
    lines = [f"old {old_size}", *(base64.b64encode(one).decode() for one in proof), "", note]
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", PATH, "\n".join(lines).encode())
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
