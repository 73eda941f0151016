"""A whole system of our own: `marque dev` as a child, ended by its own process id."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

BLUEPRINT = "foreign-client"
# A broker and five services, on a machine that does other things too.
START_SECONDS = 180
STOP_SECONDS = 60
COMMAND_SECONDS = 120
HTTP_PORTS = 5
_HERE = pathlib.Path(__file__).parent.parent


class CommandFailed(Exception):
    """`marque` said no. `error` is its JSON: `code`, `message`, `exit`."""

    def __init__(self, arguments, error):
        super().__init__(f"marque {' '.join(arguments)}: {error}")
        self.error = error


class System:
    """One trust domain: its directory, its broker, its services."""

    def __init__(self, domain, settings):
        self.domain = domain
        # More TOML at the end of services' configuration files, by the service's name.
        self.settings = settings
        scratch = pathlib.Path(os.environ["INTEROP_FOLDER"])
        scratch.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="system-", dir=scratch))
        self.directory = self.folder / "domain"
        self._marque = pathlib.Path(os.environ["MARQUE_BIN_DIR"]) / "marque"
        self._process = None
        self.url = None
        # Whether its folder, with the logs of its processes, stays when it ends.
        self.kept = False

    def start(self):
        nats_port, http_port = _ports()
        self.marque("nats", "bootstrap", "--domain", self.domain, "--nats-port", str(nats_port),
                    "--http-port", str(http_port), str(self.directory), inside=False)
        blueprint = (_HERE / "blueprint.toml").read_text()
        (self.directory / "blueprints" / f"{BLUEPRINT}.toml").write_text(blueprint)
        for service, toml in self.settings.items():
            with open(self.directory / "config" / f"{service}.toml", "a") as config:
                config.write(f"\n{toml}\n")
        talk = self.folder / "dev.log"
        command = [self._marque, "-j", "--dir", self.directory, "dev", "--no-build"]
        with open(talk, "wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=_environment())
        # `dev` says one document once all is ready, or why it is not.
        said = _one_document(self._process)
        if "nats_url" not in said:
            raise RuntimeError(f"the system does not start: {said}\n{talk.read_text()}")
        self.url = said["nats_url"]

    def stop(self):
        """Ends it, and it ends its own processes."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        finally:
            self._process.stdout.close()
            self._process = None
        if not self.kept:
            shutil.rmtree(self.folder)

    def marque(self, *arguments, inside=True):
        """The answer of one command, as JSON."""
        where = ["--dir", str(self.directory)] if inside else []
        done = subprocess.run([self._marque, "-j", "--timeout", "30s", *where, *arguments], capture_output=True,
                              text=True, timeout=COMMAND_SECONDS, env=_environment())
        try:
            said = json.loads(done.stdout) if done.stdout.strip() else {}
        except ValueError:
            said = {"error": done.stdout + done.stderr}
        if done.returncode != 0:
            raise CommandFailed(arguments, said.get("error", done.stderr))
        return said

    def begin(self, *arguments):
        """A command that goes on until it is ended, in NDJSON: its process, to be ended by whoever began it."""
        command = [self._marque, "-o", "ndjson", "--dir", str(self.directory), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment())

    def records(self, **by):
        """Records of the audit log, the oldest first."""
        flags = [word for name, value in by.items() for word in (f"--{name}", value)]
        return self.marque("audit", "query", "--oldest-first", "--limit", "500", *flags)


def _environment():
    """Ours, without what would send `marque` to another system."""
    ours = {"MARQUE_DIR", "MARQUE_AGENT_HOME"}
    foreign = {"NATS_URL", "NATS_USER", "NATS_PASSWORD", "NATS_CREDS", "NATS_NKEY", "NATS_CONTEXT", "NATS_TIMEOUT"}
    return {name: value for name, value in os.environ.items() if name not in ours | foreign}


def _one_document(process):
    """The first JSON document on its stdout."""
    timer = _Timer(process)
    text = ""
    with timer:
        for line in iter(process.stdout.readline, b""):
            text += line.decode()
            with contextlib.suppress(ValueError):
                return json.loads(text)
    return {"error": f"ended, or not ready after {START_SECONDS} s: {text}"}


class _Timer:
    """Ends a child that says nothing for too long, so that reading from it ends."""

    def __init__(self, process):
        self._timer = threading.Timer(START_SECONDS, process.terminate)

    def __enter__(self):
        self._timer.start()

    def __exit__(self, *_):
        self._timer.cancel()


def _ports():
    """A free port for the broker, and the first of five free ones in a row."""
    with contextlib.closing(_bound(0)) as nats:
        for first in range(20000, 32000, HTTP_PORTS):
            held = []
            with contextlib.suppress(OSError):
                held = [_bound(port) for port in range(first, first + HTTP_PORTS)]
            for one in held:
                one.close()
            if held:
                return nats.getsockname()[1], first
    raise RuntimeError("no five free ports in a row")


def _bound(port):
    bound = socket.socket()
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


_SHARED = []


@contextlib.contextmanager
def running(domain, settings=None):
    """A system for the time of a block."""
    system = System(domain, settings or {})
    try:
        system.start()
        yield system
    finally:
        system.stop()


@contextlib.contextmanager
def shared():
    """The system that all tests use."""
    with running("acme.example") as system:
        _SHARED.append(system)
        try:
            yield system
        finally:
            _SHARED.pop()


def the_system():
    """What `shared` holds."""
    return _SHARED[-1]
