#!/usr/bin/env python3
"""siege_serve.py: hostile clients at full size against one server: it stays up, serves others meanwhile, and nothing is
left of them. Run by hand:

    tests/program/siege_serve.py build/tessera [--ranks 2] [--scale 0.1] [CASE...]

One line a case: what was done, the slowest ordinary request meanwhile, then resident megabytes, open files and threads of
each rank. After each case the server must answer as before, with no page in use and as many files and threads as at first.
"""
import contextlib
import json
import random
import signal
import socket
import sys
import threading
import time

import siege
import support
from server import JSON
from siege import COMPLETIONS, CHAT, INVOCATIONS, LONG, dial, head, receive, request, reset, take_answer

CONNECTIONS = 10000
MOST_CONNECTIONS = 12000
SETTLE_SECONDS = 20


class Siege:
    def __init__(self, args):
        self.scale = args.scale
        self.server = siege.start("--max-connections", MOST_CONNECTIONS, ranks=args.ranks)
        self.port = self.server.port
        self.processes = siege.Processes(self.server)
        self.expected = self.ordinary()
        self.ask_all_threads()
        self.files, self.threads = self.processes.files(), self.processes.threads()
        self.began, _ = self.processes.resident()

    def count(self, n):
        return max(4, int(n * self.scale))

    def ordinary(self):
        return self.server.complete(prompt="ROMEO:", max_tokens=8)["choices"][0]["text"]

    def ask_all_threads(self):
        """What is made once, at a first use, has been made, and no connection is left."""
        siege.parallel_map(lambda _: self.ordinary(), 64, 16)
        time.sleep(2)

    def check(self):
        """As it was before?"""
        assert self.ordinary() == self.expected
        left = self.server.wait_idle(SETTLE_SECONDS)
        assert not any(left.values()), left
        until = time.monotonic() + SETTLE_SECONDS * support.SLOWNESS
        while self.processes.files() != self.files and time.monotonic() < until:
            time.sleep(0.1)
        assert self.processes.files() == self.files, (self.processes.files(), self.files)
        assert self.processes.threads() == self.threads, (self.processes.threads(), self.threads)


class Bystander(threading.Thread):
    """Somebody who just wants an answer, all the while."""

    def __init__(self, of):
        super().__init__(daemon=True)
        self.siege, self.slowest, self.answers, self.error, self.ends = of, 0, 0, None, False

    def run(self):
        while not self.ends:
            began = time.monotonic()
            try:
                assert self.siege.ordinary() == self.siege.expected
            except Exception as error:  # told when the case is over
                self.error = error
                return
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.answers += 1
            time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.join()
        if self.error:
            raise self.error


# --- Cases: each a function of the siege that returns what it saw ---

def connections(s):
    """Thousands of connections at once: silent, with half a header, with half a body."""
    begun = (b"", b"POST /v1/completions HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", head(length=1000) + b'{"prompt":"')
    held = []
    for i in range(s.count(CONNECTIONS)):
        c = dial(s.port, i)
        c.sendall(begun[i % len(begun)])
        held.append(c)
    began = time.monotonic()
    assert s.ordinary() == s.expected
    seconds = time.monotonic() - began
    time.sleep(1)
    resident, files = s.processes.resident()[0], s.processes.files()
    for i, c in enumerate(held):
        reset(c) if i % 2 else c.close()
    return f"{len(held)} open at once: {files[0]} files, {resident[0]} MB; a request meanwhile took {seconds:.2f} s"


def leavers(s):
    """Clients of streams that go in the middle of an answer, at any byte, in four ways."""
    ways = {"closed": 0, "reset": 0, "closed their side": 0, "closed without reading": 0}

    def leave(i):
        c = dial(s.port, i)
        path, body = random.choice((
            (COMPLETIONS, {**LONG, "stream": True, "n": random.randint(1, 4), "logprobs": random.choice((None, 5))}),
            (INVOCATIONS, {"inputs": "The", "stream": True, "parameters": {"max_new_tokens": 800, "details": True}}),
            (INVOCATIONS, {"inputs": ["The"] * 4, "parameters": {"max_new_tokens": 800, "output_formatter": "sse"}})))
        c.sendall(request(body, path))
        way = list(ways)[i % 4]
        if way != "closed without reading":
            receive(c, random.choice((1, 200, random.randint(300, 20000))))
        else:
            time.sleep(random.random() / 5)
        if way == "reset":
            reset(c)
        elif way == "closed their side":
            c.shutdown(socket.SHUT_WR)
            receive(c)
        c.close()
        ways[way] += 1

    siege.parallel_map(leave, s.count(1000), 24)
    return ", ".join(f"{n} {way}" for way, n in ways.items())


def steps(s):
    """How many tokens streams are given beyond those that their clients had when they left. Rank 0 is halted while a client
    takes what there is and leaves, so that neither has time to do more."""
    beyond = []
    for i in range(s.count(60)):
        told, name = b"", f"step-{i}"
        with dial(s.port, i) as c:
            c.sendall(request({**LONG, "stream": True, "logprobs": 0}, COMPLETIONS, f"X-Request-Id: {name}"))
            while told.count(b"data: ") < 20:
                told += c.recv(4096)
            s.processes.kill(0, signal.SIGSTOP)
            c.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                while True:
                    told += c.recv(65536)
            (reset, socket.socket.close, lambda c: c.shutdown(socket.SHUT_WR))[i % 3](c)
            s.processes.kill(0, signal.SIGCONT)
            s.server.wait_for(f'"id":"{name}"')
        line, = [line for line in s.server.requests_logged() if line.get("id") == name]
        had = [json.loads(line[len(b"data: "):]) for line in told.splitlines() if line.startswith(b"data: ") and line.endswith(b"}")]
        beyond.append(line["generated_tokens"] - sum(len(event["choices"][0]["logprobs"]["tokens"]) for event in had))
    told = {n: beyond.count(n) for n in sorted(set(beyond))}
    assert sorted(beyond)[len(beyond) * 3 // 4] <= 3, told
    return f"{len(beyond)} streams, by the tokens made beyond what their clients had: {told}"


def leavers_early(s):
    """Clients that go before their request is whole, right behind it, or while its answer is made."""
    whole = request({**LONG, "n": 4})

    def leave(i):
        c = dial(s.port, i)
        n = len(whole) if i % 2 else random.randint(1, len(whole))
        c.sendall(whole[:n])
        time.sleep(random.choice((0, 0.002, 0.05)))
        reset(c) if i % 3 else c.close()

    siege.parallel_map(leave, s.count(1000), 24)
    return f"{s.count(1000)} gone"


def halves(s):
    """Half-closed sockets at every place of a request: no answer, a refusal, or a whole answer, and then the end."""
    whole, told = request({"prompt": "ROMEO:", "max_tokens": 8, "temperature": 0}), {}

    def close_half(i):
        with dial(s.port, i) as c:
            c.sendall(whole[:i % (len(whole) + 1)])
            c.shutdown(socket.SHUT_WR)
            answer = take_answer(receive(c))
            status = answer[0] if answer else "none"
            told[status] = told.get(status, 0) + 1

    siege.parallel_map(close_half, s.count(400), 32)
    return f"answers by status: {told}"


def slow_bodies(s):
    """A byte now and then, for longer than a request may take."""
    held, gone = [dial(s.port, i) for i in range(s.count(300))], 0
    for c in held:
        c.sendall(head(length=5000) + b'{"prompt":"')
    until = time.monotonic() + 64
    while time.monotonic() < until:
        time.sleep(2)
        for c in held:
            try:
                c.sendall(b"x")
            except OSError:
                pass
    for c in held:
        c.settimeout(0.1)
        try:
            gone += receive(c) is not None
        except TimeoutError:
            pass
        c.close()
    assert gone == len(held), f"{gone} of {len(held)}"
    return f"{gone} of {len(held)} ended by the server within 64 s"


def single_bytes(s):
    """Bodies in chunks of one byte, each sent by itself, are requests like others."""
    body = json.dumps({"prompt": "ROMEO:", "max_tokens": 8, "temperature": 0}).encode()

    def ask(i):
        with dial(s.port, i) as c:
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head(COMPLETIONS, "Transfer-Encoding: chunked", "Connection: close"):
                c.sendall(bytes([byte]))
            for byte in body:
                c.sendall(b"1\r\n" + bytes([byte]) + b"\r\n")
            c.sendall(b"0\r\n\r\n")
            status, _, answer, _ = take_answer(receive(c))
            assert status == 200 and json.loads(answer)["choices"][0]["text"] == s.expected, answer

    siege.parallel_map(ask, s.count(200), 24)
    return f"{s.count(200)} answered"


def floods(s):
    """Headers without end, and requests whose first line is all there is."""
    told = {}

    def flood(i):
        lines = (b"X-%d: %s\r\n" % (i, b"y" * (i % 4000)), b"a:\r\n", b"Cookie: " + b"x" * 100000, b"\r\n" * 3, b" \t folded\r\n")
        with dial(s.port, i) as c:
            sent = 0
            try:
                c.sendall(b"GET /health HTTP/1.1\r\n" if i % 7 else b"GET /")
                while sent < 4 << 20:
                    c.sendall(lines[i % len(lines)] * 50)
                    sent += 50 * len(lines[i % len(lines)])
            except OSError:
                pass
            answer = take_answer(receive(c))
            status = answer[0] if answer else "none"
            told[status] = told.get(status, 0) + 1

    siege.parallel_map(flood, s.count(500), 24)
    assert not set(told) - {"none", 200, 400, 413, 414, 431}, told
    return f"answers by status: {told}"


def bodies(s):
    """JSON that is deep, huge, wrong or not text, and prompts as long as a body may be."""
    n = 2 << 20
    room = n - 100
    whole = {
        "brackets": b"[" * n, "objects": b'{"a":' * (n // 5), "closed brackets": b"]" * n, "a string without end": b'"' + b"x" * room,
        "backslashes": b'{"prompt":"' + b"\\\\" * (room // 2) + b'"}', "zeros": b'{"max_tokens":' + b"0" * room + b"}",
        "a number of a million digits": b'{"prompt":"a","max_tokens":' + b"9" * 1000000 + b"}",
        "1e99999": b'{"prompt":"a","temperature":1e99999}', "-1e-99999": b'{"prompt":"a","temperature":-1e-99999}',
        "2^63": b'{"prompt":"a","seed":9223372036854775808}', "bytes that are not UTF-8": b'{"prompt":"' + b"\xff\xfe" * 1000 + b'"}',
        "surrogates": b'{"prompt":"\\ud800\\ud800"}', "overlong UTF-8": b'{"prompt":"\xc0\xaf"}', "noise": random.randbytes(100000),
        "names": b'{"prompt":"a",' + b",".join(b'"n%d":1' % i for i in range(150000)) + b"}",
        "one name twice": b'{"prompt":"a",' + b'"a":1,' * 300000 + b'"a":1}', "ids": b'{"prompt":[' + b"1," * (room // 2) + b"1]}",
        "empty lists": b'{"prompt":[' + b"[]," * (room // 3) + b"[]]}", "a's": b'{"prompt":"' + b"a" * room + b'"}',
        "spaces": b'{"prompt":"' + b" " * room + b'"}', "newlines": b'{"prompt":"' + b"\\n" * (room // 2) + b'"}',
        "digits": b'{"prompt":"' + b"7" * room + b'"}', "a letter and marks": b'{"prompt":"e' + "\u0301".encode() * (room // 2) + b'"}',
        "emoji": b'{"prompt":"' + "\U0001F469\u200d".encode() * (room // 7) + b'"}',
        "many messages": b'{"messages":[' + b'{"role":"user","content":"a"},' * (room // 31) + b'{"role":"user","content":"a"}]}',
    }
    slowest, statuses = ("", 0), {}

    def ask(i):
        nonlocal slowest
        name = list(whole)[i % len(whole)]
        path = (COMPLETIONS, CHAT, INVOCATIONS)[i // len(whole) % 3]
        with dial(s.port, i) as c:
            began = time.monotonic()
            c.sendall(request(whole[name], path))
            c.shutdown
            status, headers, answer, _ = take_answer(receive_one(c))
            seconds = time.monotonic() - began
        siege.error_of(status, headers, answer)
        statuses[status] = statuses.get(status, 0) + 1
        assert 400 <= status < 500 or name == "-1e-99999", (name, path, status, answer[:300])
        if seconds > slowest[1]:
            slowest = (f"{name} to {path}", seconds)

    siege.parallel_map(ask, 3 * len(whole), 8)
    return f"answers by status: {statuses}; the slowest, {slowest[0]}, took {slowest[1]:.2f} s"


def receive_one(c):
    """The bytes of one answer on a connection that stays open."""
    data = b""
    while True:
        part = c.recv(1 << 20)
        data += part
        try:
            if not part or take_answer(data):
                return data
        except siege.Cut:
            if not part:
                raise


def protocol(s):
    """Requests that are odd, wrong, or smuggled: an answer of HTTP, or the connection's end."""
    body = b'{"prompt":"ROMEO:","max_tokens":8,"temperature":0}'
    n, post = len(body), f"POST {COMPLETIONS}"
    chunked = "Transfer-Encoding: chunked"
    good = b"%x\r\n%s\r\n0\r\n\r\n" % (n, body)

    def one(*lines, top=post + " HTTP/1.1", after=b""):
        return "\r\n".join([top, "Host: x", *lines, "", ""]).encode("latin-1") + after

    rows = (  # what is sent, the statuses it may have
        (one(f"Content-Length: {n}", "Expect: 100-continue", after=body), {200}),
        (one("Content-Length: 99999999", "Expect: 100-continue"), {413}),
        (one(f"Content-Length: {n}", "Expect: the-inquisition", after=body), {200, 417}),
        (one(f"Content-Length: {n}", top=post + " HTTP/1.0", after=body), {200}),
        (one(chunked, after=good), {200}),
        (one(chunked, after=b"%x;%s\r\n%s\r\n0\r\n\r\n" % (n, b"x" * 3000, body)), {200, 400, 413}),
        (one(chunked, after=b"ffffffffffffffff\r\n" + body), {400, 413, None}),
        (one(chunked, after=b"fffffffffffffffffffffffffff\r\n" + body), {400, 413, None}),
        (one(chunked, after=b"-5\r\n" + body), {400, None}), (one(chunked, after=b"0x10\r\n" + body), {400, None}),
        (one(chunked, after=b"\r\n\r\n" + body), {400, None}), (one(chunked, after=b"5"), {None}),
        (one(chunked, after=b"%x\r\n%sXX0\r\n\r\n" % (n, body)), {400, None}),
        (one(chunked, f"Content-Length: {n}", after=good), {200, 400}),
        (one(f"Content-Length: {n}", "Content-Length: 5", after=body), {400, 200}),
        (one("Content-Length: 1e3", after=body), {400}), (one("Content-Length: +5", after=body), {400}),
        (one("Content-Length: 0"), {400}), (one(), {400}), (one("Transfer-Encoding: gzip", after=body), {400, 501, None}),
        (one(top="GET /health HTTP/1.1"), {200}), (one(top="HEAD /health HTTP/1.1"), {200}), (one(top="get /health HTTP/1.1"), {405, 501}),
        (one(top="OPTIONS * HTTP/1.1"), {404, 405}), (one(top="TRACE / HTTP/1.1"), {405}), (one(top="CONNECT x:80 HTTP/1.1"), {404, 405}),
        (one(top="A" * 3000 + " / HTTP/1.1"), {400, 405, 414, 431, 501}), (one(top="\xff\xfe / HTTP/1.1"), {400, 405}),
        (one(top="GET /\xff%00%ff%2e%2e/../%zz HTTP/1.1"), {400, 404}), (one(top="GET http://other/health HTTP/1.1"), {200, 404, 400}),
        (one(top="GET /health"), {400, 200, None}), (one(top="GET /health HTTP/2.0"), {505, 400}), (one(top="PRI * HTTP/2.0"), {505, 400}),
        (b"GET /health HTTP/1.1\r\n\r\n", {400}), (one("X-Request-Id: a\r\n\tb", top="GET /health HTTP/1.1"), {200, 400}),
        (one("X\0Y: a\0b", top="GET /health HTTP/1.1"), {200, 400, None}), (one(": none", top="GET /health HTTP/1.1"), {200, 400}),
        (one("X-Request-Id: \xff\xfe", top="GET /health HTTP/1.1"), {200}),
        (one(f"Content-Length: {n}", "Content-Type: \xff\xfe/\xc3", after=body), {415}),
        (one("Content-Length: 5", top="GET /metrics HTTP/1.1", after=b"hello"), {200}),
        (one("Upgrade: websocket", "Connection: Upgrade", top="GET / HTTP/1.1"), {200}),
        (b"\x16\x03\x01\x02\x00\x01\x00" + random.randbytes(500), {400, None}), (b"\r\n" * 1000 + one(top="GET /health HTTP/1.1"), {200, 400, None}))
    for i, (data, wanted) in enumerate(rows):
        with dial(s.port, i, 20) as c:
            try:
                c.sendall(data)
                time.sleep(0.05 if None in wanted else 0)
                c.shutdown(socket.SHUT_WR) if None in wanted else None
                answer = take_answer(receive(c) if None in wanted else receive_answer(c, data))
            except ConnectionError:
                answer = None
        status = answer[0] if answer else None
        assert status in wanted, (data[:200], wanted, answer)
        if answer and not data.startswith(b"HEAD"):
            siege.error_of(*answer[:3])
    return f"{len(rows)} kinds; {pipelines(s)} pipelined requests answered in order"


def receive_answer(c, data):
    """One answer; of HEAD there is none but its head."""
    if not data.startswith(b"HEAD"):
        return receive_one(c)
    told = b""
    while b"\r\n\r\n" not in told:
        told += c.recv(65536)
    return told.partition(b"\r\n\r\n")[0] + b"\r\nContent-Length: 0\r\n\r\n" if b"Content-Length" not in told else \
        told.replace(b"Content-Length: ", b"X-Length: ")


def pipelines(s):
    """Requests one behind the other, without waiting, of both kinds."""
    each, n = {"prompt": "ROMEO:", "max_tokens": 8, "temperature": 0}, s.count(200)
    with dial(s.port) as c:
        sender = threading.Thread(target=c.sendall, args=(b"".join(
            request({**each, "stream": i % 3 == 0}, COMPLETIONS, f"X-Request-Id: p{i}") for i in range(n)),))
        sender.start()
        data, done = b"", 0
        while done < n:
            try:
                status, headers, body, rest = take_answer(data)
            except (siege.Cut, TypeError):
                part = c.recv(65536)
                assert part, (done, data[-200:])
                data += part
                continue
            assert (status, headers["x-request-id"]) == (200, f"p{done}"), (done, status, headers)
            data, done = rest, done + 1
        sender.join()
    return n


def large_bodies(s):
    """Far more bytes of bodies than may be in memory, none of them whole."""
    held, before = [], s.processes.resident()[0][0]
    part = head(length=2000000) + b'{"prompt":"' + b"x" * 1500000
    for i in range(s.count(400)):
        c = dial(s.port, i)
        try:
            c.sendall(part)
        except OSError:
            pass
        held.append(c)
    most = s.processes.resident()[0][0]
    assert most - before < 256 + 128, (before, most)
    for c in held:
        c.close()
    return f"{len(held)} of 1.5 MB: {most - before} MB more in memory"


def unread(s):
    """Clients that ask for much and take nothing."""
    held, before = [], s.processes.resident()[0][0]
    for i in range(s.count(64)):
        c = dial(s.port, i)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sendall(request({**LONG, "max_tokens": 200, "n": 4, "logprobs": 20, "stream": i % 2 == 0}))
        held.append(c)
    until = time.monotonic() + 120 * support.SLOWNESS
    while s.server.metric("num_requests_running") + s.server.metric("num_requests_waiting") and time.monotonic() < until:
        time.sleep(0.2)
    most = s.processes.resident()[0][0]
    for i, c in enumerate(held):
        reset(c) if i % 2 else c.close()
    return f"{len(held)} clients, {4 * len(held)} answers of 200 tokens with 20 others each: {most - before} MB more in memory"


def company(s):
    """Sixteen clients without a break, of every kind of answer: each the same whenever it is asked for."""
    kinds = [(path, {**body, **more}) for path, body in ((COMPLETIONS, {"prompt": "ROMEO:\nO", "max_tokens": 60, "temperature": 0}),
                                                         (INVOCATIONS, {"inputs": "JULIET:\nA"}))
             for more in ({}, {"stream": True})] + [(COMPLETIONS, {**LONG, "n": 3, "max_tokens": 90, "temperature": 0.8, "seed": 5, "logprobs": 4})]
    known, asked, until = {}, [0] * 16, time.monotonic() + 60 * min(1, s.scale * 10)

    def ask(client):
        while time.monotonic() < until:
            path, body = kinds[asked[client] % len(kinds)]
            status, _, data = s.server.ask("POST", path, json.dumps(body).encode(), JSON)
            assert status == 200, data
            if "stream" not in body:
                told = json.loads(data)
                texts = [c["text"] for c in told["choices"]] if "choices" in told else [told["generated_text"]]
                assert known.setdefault(asked[client] % len(kinds), texts) == texts, (known, texts)
            asked[client] += 1

    siege.parallel_map(ask, 16, 16)
    return f"{sum(asked)} answers"


CASES = {case.__name__: case for case in (company, connections, steps, leavers, leavers_early, halves, single_bytes, floods, bodies, protocol,
                                          large_bodies, unread, slow_bodies)}


def crowd(args):
    """As many connections against the usual bound on them: those that ask for something get in."""
    server = siege.start(ranks=args.ranks)
    held, failed = [], 0
    try:
        for i in range(max(2000, int(CONNECTIONS * args.scale))):
            try:
                c = dial(server.port, i, 0.05 / support.SLOWNESS)
                held.append(c)
            except OSError:
                failed += 1
        began = time.monotonic()
        server.complete(prompt="ROMEO:", max_tokens=8)
        seconds = time.monotonic() - began
        for c in held:
            c.close()
        code, _ = server.end(), None
        assert code == 0, code
        return f"{len(held)} open, {failed} found no room, at --max-connections 1024: a request took {seconds:.1f} s"
    finally:
        siege.hang_up(server)


def main():
    args = siege.arguments(__doc__)
    s = Siege(args)
    failed = []
    try:
        for name in args.cases or CASES:
            if name == "crowd":
                continue
            began = time.monotonic()
            try:
                with Bystander(s) as other:
                    told = CASES[name](s)
                s.check()
                told += f"; {other.answers} answers to others, the slowest after {other.slowest:.2f} s"
            except Exception as error:
                failed.append(name)
                told = f"FAILED: {error!r}"
            now, peak = s.processes.resident()
            print(f"{name}: {told}; {time.monotonic() - began:.0f} s; {now} MB of {peak} at most, {s.processes.files()} files, "
                  f"{s.processes.threads()} threads", flush=True)
        now, peak = s.processes.resident()
        grown = [b - a for a, b in zip(s.began, now)]
        code = s.server.end()
        print(f"the end: exit code {code}, {s.began} MB at first, {now} at last, {peak} at most", flush=True)
        if code != 0:
            failed.append("the end")
        if max(grown) > 512 and not support.SANITIZED:
            failed.append("memory")
    finally:
        siege.hang_up(s.server)
    if not args.cases or "crowd" in args.cases:
        print(f"crowd: {crowd(args)}", flush=True)
    print("failed: " + ", ".join(failed) if failed else "nothing failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
