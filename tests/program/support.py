"""support.py: what the tests of the whole program share: running it, alone or under mpirun, and what it may cost.

A test is a file check_*.py of unittest cases, run as `check_x.py BUILD/tessera [unittest options]`. Standard library
only. Tests that need ranks are skipped where there is no mpirun.
"""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORACLE = ROOT / "tests" / "oracle"
SHAKESPEARE = ROOT / "examples" / "models" / "shakespeare"
ERROR = "tessera: error: "

PROGRAM = None  # set by main()
MPIRUN = shutil.which("mpirun")
SANITIZED = False  # the program carries AddressSanitizer: slower, larger, no limit on addresses
SLOWNESS = 1  # what deadlines are multiplied with

ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_hwloc_base_binding_policy="none")

needs_ranks = unittest.skipUnless(MPIRUN, "there is no mpirun")


class Result:
    """How a run ended: exit code (negative: a signal), what it printed, seconds, peak resident bytes."""

    def __init__(self, code, out, err, seconds, peak):
        self.code, self.out, self.err, self.seconds, self.peak = code, out, err, seconds, peak

    def lines(self):
        """The JSON objects printed, one a line."""
        return [json.loads(line) for line in self.out.split(b"\n") if line]

    def errors(self):
        """The error lines, without what a launcher adds."""
        return [line for line in self.err.decode(errors="replace").splitlines() if line.startswith(ERROR)]

    def __str__(self):
        return f"exit code {self.code} after {self.seconds:.2f} s\nstdout: {self.out[-600:]!r}\nstderr: {self.err[-1500:]!r}"


def command(*args, ranks=0):
    """The command line of the program, under mpirun if ranks are asked for."""
    launcher = [MPIRUN, "-n", str(ranks)] if ranks else []
    return launcher + [PROGRAM, *map(str, args)]


def start(*args, ranks=0, entry=None, env=None, **how):
    """A running program; its output goes to pipes unless told otherwise. It leads a process group of its own. entry: a
    script that starts `tessera` as often as there are ranks."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # Open MPI leaks at its end, so leaks are looked for in single ranks only.
    leaks = {"ASAN_OPTIONS": "detect_leaks=0"} if ranks else {}
    line = [str(entry), *map(str, args)] if entry else command(*args, ranks=ranks)
    return subprocess.Popen(line, env={**ENVIRONMENT, **leaks, **(env or {})},
                            start_new_session=True, **dict(pipes, **how))


def limit_addresses(most):
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def run(*args, ranks=0, stdin=None, env=None, timeout=60, addresses=None):
    """Runs to the end. A run that outlasts `timeout` seconds fails the test. addresses: bytes of address space."""
    how = {}
    if addresses and not SANITIZED:
        how["preexec_fn"] = lambda: limit_addresses(addresses)
    began = time.monotonic()
    # Files, not pipes: os.wait4 alone tells the peak memory of this very child, and it does not drain pipes.
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin or b"")
        given.seek(0)
        process = start(*args, ranks=ranks, env=env, stdin=given, stdout=out, stderr=err, **how)
        code, usage = wait(process, timeout * SLOWNESS)
        out.seek(0)
        err.seek(0)
        result = Result(code, out.read(), err.read(), time.monotonic() - began, usage.ru_maxrss * 1024)
    if code is None:
        raise AssertionError(f"{args}: not at its end after {timeout * SLOWNESS} s\n{result}")
    return result


def wait(process, seconds):
    """(exit code, resource usage); the code is None if the process had to be killed at last."""
    expired = []

    def on_alarm(*_):
        expired.append(True)
        os.killpg(process.pid, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (None if expired else process.returncode), usage


def ids_option(prompts):
    """--ids for each list of ids."""
    return [text for ids in prompts for text in ("--ids", ",".join(map(str, ids)))]


class Case(unittest.TestCase):
    """What the tests say of a run."""

    def good(self, *args, **how):
        """Runs a command that must succeed."""
        result = run(*args, **how)
        self.assertEqual(result.code, 0, f"{args}\n{result}")
        return result

    def generate(self, model, *args, **how):
        """The JSON objects of `generate`."""
        return self.good("generate", "--model", model, "--json", "--quiet", *args, **how).lines()

    def refused(self, result, code, pattern):
        """It ended with one error line that matches, and printed nothing else."""
        told = result.err.decode(errors="replace").splitlines()
        self.assertEqual(result.code, code, str(result))
        self.assertEqual(len(told), 1, f"one line was expected\n{result}")
        self.assertTrue(told[0].startswith(ERROR), str(result))
        self.assertTrue(re.search(pattern, told[0]), f"{told[0]!r} does not match {pattern!r}")
        self.assertEqual(result.out, b"", str(result))


class TempFolder:
    """A folder that a test class may fill; gone afterwards."""

    def __init__(self, case_class):
        self._folder = tempfile.TemporaryDirectory(prefix="tessera-test-")
        case_class.addClassCleanup(self._folder.cleanup)
        self.path = pathlib.Path(self._folder.name)

    def copy(self, model, name):
        """A copy of a model folder, without what belongs to the oracle."""
        shutil.copytree(model, self.path / name, ignore=shutil.ignore_patterns("expected.json", "full.safetensors"))
        return self.path / name


def main():
    global PROGRAM, SANITIZED, SLOWNESS
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: {sys.argv[0]} BUILD/tessera [unittest options]")
    PROGRAM = str(pathlib.Path(sys.argv.pop(1)).resolve())
    SANITIZED = b"__asan_init" in pathlib.Path(PROGRAM).read_bytes()
    SLOWNESS = 4 if SANITIZED else 1
    unittest.main(module="__main__")
