"""server.py: a running `tessera serve`, and clients of it: what the tests of the server share."""
import atexit
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import threading
import time

import support

JSON = {"Content-Type": "application/json"}


class Server:
    """Starts on a free port and waits until it is ready, or listens. Its log is in `lines`."""

    def __init__(self, model, *options, ranks=0, entry=None, env=None, until_ready=True):
        self.ranks, self.entry = ranks, entry
        self.process = support.start("serve", "--model", model, "--port", 0, *options, ranks=ranks, entry=entry, env=env)
        atexit.register(self._kill)  # whatever a test does
        self.lines = []
        self.reads = threading.Event()  # cleared: nobody reads its log
        self.reads.set()
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for(r"listening on http://.*:(\d+)").group(1))
        if until_ready:
            self.wait_for(r": ready: ")

    def _kill(self):
        if self.process.returncode is None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def _read(self):
        for line in self.process.stderr:
            self.reads.wait()
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self.lines.append("(end)")
            self._changed.notify_all()

    def wait_for(self, pattern, seconds=30):
        until = time.monotonic() + seconds * support.SLOWNESS
        with self._changed:
            while True:
                for line in self.lines:
                    found = re.search(pattern, line)
                    if found:
                        return found
                if "(end)" in self.lines or not self._changed.wait(until - time.monotonic()):
                    self.process.kill()
                    raise AssertionError(f"no line with {pattern!r} in:\n" + "\n".join(self.lines[-20:]))

    def requests_logged(self):
        with self._changed:
            return [json.loads(line) for line in self.lines if line.startswith("{")]

    # --- asking ---

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * support.SLOWNESS)

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, bytes) of one request."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path):
        return self.ask("GET", path)

    def post(self, path, body, headers=None):
        """(status, the answer's JSON)."""
        status, _, data = self.ask("POST", path, json.dumps(body).encode(), {**JSON, **(headers or {})})
        return status, json.loads(data)

    def complete(self, **body):
        """A completion that must succeed."""
        status, answer = self.post("/v1/completions", {"temperature": 0, **body})
        assert status == 200, answer
        return answer

    def stream(self, path, body, headers=None):
        """The bytes of a streamed answer that must succeed, and its content type."""
        status, told, data = self.ask("POST", path, json.dumps(body).encode(), {**JSON, **(headers or {})})
        assert status == 200, data
        return data, told["Content-Type"]

    def events(self, body):
        """The objects of a streamed completion."""
        data, kind = self.stream("/v1/completions", {"temperature": 0, **body, "stream": True})
        assert kind == "text/event-stream", kind
        return parse_events(data)

    def raw(self, data, half_close=False, timeout=10):
        """What comes back for these bytes until the server closes or the time is over."""
        with socket.create_connection(("127.0.0.1", self.port), timeout * support.SLOWNESS) as s:
            received = b""
            try:
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
                while True:
                    part = s.recv(65536)
                    if not part:
                        break
                    received += part
            except OSError:
                pass
            return received

    def metric(self, name):
        for line in self.get("/metrics")[2].decode().splitlines():
            if line.startswith(f"tessera_{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"no metric {name}")

    def wait_idle(self, seconds=10):
        """Until nothing runs or waits; what is left of it."""
        until = time.monotonic() + seconds * support.SLOWNESS
        names = ("num_requests_running", "num_requests_waiting", "kv_cache_pages_used")
        while time.monotonic() < until:
            left = {name: self.metric(name) for name in names}
            if not any(left.values()):
                break
            time.sleep(0.02)
        return left

    # --- ending ---

    def signal(self, number):
        """To the process that was started. mpirun of some releases passes SIGUSR1 on and of others does not: to its ranks."""
        targets = [self.process.pid]
        if number == signal.SIGUSR1 and self.ranks and not self.entry:
            targets = children_of(self.process.pid)
        for pid in targets:
            os.kill(pid, number)

    def stop(self, number=None, seconds=30):
        """Signals unless that was done; the exit code. Launchers handle SIGTERM themselves."""
        if number is not None:
            self.signal(number)
        code = support.wait(self.process, seconds * support.SLOWNESS)[0]
        self._reader.join(5)
        self.process.stderr.close()
        self.process.stdout.close()
        return code

    def end(self):
        if self.process.returncode is None and self.process.poll() is None:
            return self.stop(signal.SIGUSR1)
        return self.process.returncode


def children_of(pid):
    found = []
    for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in file.read_text().split()]
    return found


def parse_events(data):
    """The objects of server-sent events; the last event must be [DONE]."""
    events = [event for event in data.decode("utf-8").split("\n\n") if event and not event.startswith(":")]
    assert all(event.startswith("data: ") for event in events), data
    assert events[-1] == "data: [DONE]", data
    return [json.loads(event[len("data: "):]) for event in events[:-1]]


def at_once(functions):
    """Their results, each run in a thread of its own; the first error is raised."""
    results, errors = [None] * len(functions), []

    def work(i):
        try:
            results[i] = functions[i]()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
