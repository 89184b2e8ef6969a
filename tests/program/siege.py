"""siege.py: what the scripts share that lay siege to a running server by hand: the processes of a server seen from
outside, raw clients of every temper, and answers that are looked at byte by byte."""
import argparse
import json
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import subprocess
import time

import support
from server import Server
from support import SHAKESPEARE

COMPLETIONS, CHAT, INVOCATIONS = "/v1/completions", "/v1/chat/completions", "/invocations"
LONG = {"prompt": "The", "max_tokens": 800, "ignore_eos": True, "temperature": 0}
BIND_ADDRESS_NO_PORT = 24  # ip(7): the port is chosen at connect, so that sources do not share one range


def arguments(description):
    """The command line that the scripts have in common; sets up `support`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("program")
    parser.add_argument("cases", nargs="*", help="names of cases; all without")
    parser.add_argument("--ranks", type=int, default=0, help="under mpirun, so many")
    parser.add_argument("--scale", type=float, default=1, help="of counts and times; less for a program with sanitizers")
    parser.add_argument("--seed", type=int, default=None, help="of what is random; told at the start")
    args = parser.parse_intermixed_args()
    support.PROGRAM = str(pathlib.Path(args.program).resolve())
    binary = pathlib.Path(args.program).read_bytes()
    support.SANITIZED = b"__asan_init" in binary or b"__tsan_init" in binary
    support.SLOWNESS = 10 if support.SANITIZED else 1
    support.ENVIRONMENT.setdefault("TSAN_OPTIONS", f"suppressions={support.ROOT / 'tests' / 'tsan.supp'}")
    args.seed = args.seed if args.seed is not None else random.SystemRandom().randrange(10**6)
    random.seed(args.seed)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"seed {args.seed}, {args.ranks or 1} rank{'s' if args.ranks > 1 else ''}, up to {hard} files", flush=True)
    return args


def alive(pid):
    """It runs; zombies do not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Processes:
    """The ranks of a server."""

    def __init__(self, server):
        self.pids = [server.process.pid]
        if server.ranks:
            told = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, check=True).stdout
            self.pids = [int(pid) for pid in told.split()]

    def field(self, name, index=0):
        """Of /proc/PID/status: of each rank."""
        values = []
        for pid in self.pids:
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(name + ":"):
                    values.append(int(line.split()[1 + index]))
        return values

    def resident(self):
        """Megabytes of each rank, and the most there ever were."""
        return [kb // 1024 for kb in self.field("VmRSS")], [kb // 1024 for kb in self.field("VmHWM")]

    def files(self):
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids]

    def threads(self):
        return self.field("Threads")

    def alive(self):
        return [pid for pid in self.pids if alive(pid)]

    def wait_gone(self, seconds):
        """Seconds until the last one was gone; None if one is left."""
        began = time.monotonic()
        while self.alive():
            if time.monotonic() - began > seconds:
                return None
            time.sleep(0.02)
        return time.monotonic() - began

    def kill(self, rank, number):
        os.kill(self.pids[rank], number)


def start(*options, ranks, env=None):
    return Server(SHAKESPEARE, *options, ranks=ranks, env=env)


def dial(port, number=0, timeout=60):
    """A connection from one of many addresses of this machine."""
    s = socket.socket()
    s.settimeout(timeout * support.SLOWNESS)
    s.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
    s.bind((f"127.0.{1 + number // 250 % 200}.{2 + number % 250}", 0))
    s.connect(("127.0.0.1", port))
    return s


def reset(s):
    """Ends a connection by RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def head(path=COMPLETIONS, *lines, method="POST", length=None, version="1.1"):
    told = [f"{method} {path} HTTP/{version}", "Host: x", "Content-Type: application/json", *lines]
    if length is not None:
        told.append(f"Content-Length: {length}")
    return ("\r\n".join(told) + "\r\n\r\n").encode("latin-1")


def request(body, path=COMPLETIONS, *lines):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(path, *lines, length=len(data)) + data


def receive(s, most=None):
    """Everything until the end (or that much); what was there before a reset counts."""
    data = b""
    try:
        while most is None or len(data) < most:
            part = s.recv(65536)
            if not part:
                break
            data += part
    except ConnectionError:
        pass
    return data


class Cut(Exception):
    """An answer that does not end as HTTP says."""


def take_answer(data):
    """(status, headers, body, the rest) of the first answer in the bytes; b"" gives None. Interim answers are skipped."""
    while data.startswith(b"HTTP/1.1 100"):
        data = data.partition(b"\r\n\r\n")[2]
    if not data:
        return None
    top, found, rest = data.partition(b"\r\n\r\n")
    if not found or not top.startswith(b"HTTP/1."):
        raise Cut(data[:200])
    lines = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    status = int(lines[0].split()[1])
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            size, found, rest = rest.partition(b"\r\n")
            n = int(size, 16) if found else -1
            if n < 0 or len(rest) < n + 2 or rest[n:n + 2] != b"\r\n":
                raise Cut(data[-200:])
            body, rest = body + rest[:n], rest[n + 2:]
            if n == 0:
                return status, headers, body, rest
    if "content-length" in headers:
        n = int(headers["content-length"])
        if len(rest) < n:
            raise Cut(data[-200:])
        return status, headers, rest[:n], rest[n:]
    return status, headers, rest, b""


def error_of(status, headers, body):
    """The line of a refusal, which must be JSON of UTF-8 with a message; None for a success."""
    if status < 400:
        return None
    if "x-request-id" not in headers:
        return "(the HTTP library's own)"
    told = json.loads(body.decode("utf-8"))
    return told["error"]["message"] if isinstance(told.get("error"), dict) else told["message"]


def parallel_map(function, count, workers):
    """function(i) for all i, so many at once; the results in order. The first error is raised."""
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, range(count)))


def listens(port):
    """Whether the port can be had again."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
            return False
        except OSError:
            return True


def end_of(server, seconds=60):
    """(exit code, seconds) of a server that ends by itself or has been signalled."""
    began = time.monotonic()
    code, took = server.stop(seconds=seconds), time.monotonic() - began
    assert not any("WARNING: ThreadSanitizer" in line for line in server.lines), server.lines
    return code, took


def hang_up(server):
    """Whatever happened, nothing of it is left."""
    if server.process.returncode is None and server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
