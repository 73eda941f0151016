"""Runs every test, or those whose name holds a word of the command line; says `N passed, N failed`."""

import logging
import os
import pathlib
import signal
import sys
import unittest

from support import system

HERE = pathlib.Path(__file__).parent
# What run.sh has said that it can't run here.
IGNORED = os.environ.get("INTEROP_IGNORED", "").split()


def chosen(suite, words):
    """The tests whose id holds one of the words; all where there are none."""
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from chosen(test, words)
        elif any(ignored in test.id() for ignored in IGNORED):
            continue
        elif not words or any(word in test.id() for word in words):
            yield test


def main():
    # unittest runs loops in debug mode; our command line, a child, is waited for in them.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    # What a test provokes is no news.
    logging.getLogger("synadia_ai").setLevel(logging.CRITICAL)
    tests = unittest.TestSuite(chosen(unittest.defaultTestLoader.discover(HERE), sys.argv[1:]))
    # A run that is told to end still ends its system.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with system.shared() as running:
        result = unittest.TextTestRunner(verbosity=2).run(tests)
        if not result.wasSuccessful():
            running.kept = True
            print(f"the telemetry of its processes: {running.directory / 'log'}", file=sys.stderr)
    bad = {test.id() for test, _ in result.failures + result.errors}
    bad |= {test.id() for test in result.unexpectedSuccesses}
    failed = len(bad)
    # A test that was not run shows nothing.
    failed += len(result.skipped) + len(result.expectedFailures)
    print(f"{max(result.testsRun - failed, 0)} passed, {failed} failed")
    return 0 if result.testsRun and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
