#!/usr/bin/env python3
"""load_server.py: many clients against `tessera serve` for a while: errors, wrong answers, times, memory, overhead.

    mpirun -n 2 tessera serve --model examples/models/shakespeare --context 2048 --quiet &
    examples/bench/load_server.py --clients 64 --seconds 600 --pid $!

Prints one JSON object: what was seen, and under "bars" each bar with what was found and whether it holds. The exit
status is 0 if all hold.

What is asked. A fixed set of greedy streamed completions. Their prompts are text of --shortest to --longest TOKENS, more
short ones than long ones, the shortest and the longest among them; the server says how many tokens a prompt has. Each is
asked alone first, and under load every answer must be the same text. A client sends one request after another, drawn
from the set, over a connection that it keeps. Two things to know. With weights in bfloat16, processors that multiply in
bfloat16 round the rows of a large step more than those of a small one, and of two tokens that are all but equally
likely the other one may be chosen; not so with --dtype float32, or TESSERA_ISA=avx512 in the server's environment. And
a prefix cache knows most of these prompts after a while: --prefix-cache false has all of them read.

Memory (--pid: of mpirun, or of the server if there is one rank). The resident memory of all `tessera` processes below
that one, added up, every two seconds from --warm-up seconds on. The server reserves what --cache-mb allows for keys and
values, and the system gives a page of it memory when it is used first, so memory rises to that bound with the largest
number of tokens that ever were in flight. What is looked for is growth beyond that: so as many requests as there are
clients, each longer than any of the load, are held at once before, and again as long as that brings pages into use that
never were (tessera_kv_cache_pages_touched); --no-fill leaves that out. The straight line through the samples may not
rise by more than --grow percent over the time, nor the largest sample exceed the smallest by more.

Times. Between two events of an answer as the client receives them: those that arrive together have 0 between them. This
client is one process that reads sockets and takes times; it shares the machine, and says how much CPU time it took.

Overhead. From the server's metrics over the same time: what rank 0 does between and around the model's work
(tessera_step_host_seconds_total), while the others wait for it, against the time of all steps; and the CPU time of its HTTP
threads, which run on any core, against that time on all cores of this machine. Standard library only.
"""
import argparse
import array
import http.client
import json
import os
import pathlib
import random
import re
import resource
import select
import socket
import sys
import time
import urllib.parse

WORDS = ("the a my thy of and to in that is not with for his her be this it your what shall will so as have do but good "
         "lord king sir man love come let night day death heart hand eye world speak hear never time").split()
EVENT, TEXT, END = b"\ndata: {", re.compile(rb'"text":"((?:[^"\\]|\\.)*)"'), b"\n0\r\n\r\n"


# --- What is asked ---

class Server:
    """One request at a time, and what comes back as JSON."""

    def __init__(self, args):
        self.url = urllib.parse.urlsplit(args.url)
        self.headers = {"Content-Type": "application/json"}
        if args.key:
            self.headers["Authorization"] = f"Bearer {args.key}"

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.url.hostname, self.url.port or 80, timeout=300)
        connection.request(method, path, json.dumps(body) if body else None, self.headers)
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{method} {path}: {response.status} {data[:300].decode(errors='replace')}")
        return data

    def complete(self, **body):
        return json.loads(self.ask("POST", "/v1/completions", body))

    def context(self):
        return json.loads(self.ask("GET", "/v1/models"))["data"][0]["max_model_len"]

    def metrics(self):
        """{name with its labels: value}, without the common prefix."""
        lines = [line for line in self.ask("GET", "/metrics").decode().splitlines() if not line.startswith("#")]
        return {name.removeprefix("tessera_"): float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


class Prompts:
    """Texts of about so many tokens, with what they are answered."""

    def __init__(self, server, args):
        self.server, self.args, self.draw, self.per_word = server, args, random.Random(args.seed), 1.3

    def make(self, wanted, tolerance):
        """(request, its answer, tokens of the prompt); the server says how many they are."""
        words = [self.draw.choice(WORDS) for _ in range(2 * wanted)]
        new, n = self.draw.randint(8, self.args.new_tokens), round(wanted / self.per_word)
        for _ in range(20):
            body = {"prompt": " ".join(words[:n]), "max_tokens": new, "temperature": 0}
            answer = self.server.complete(**body)
            tokens = answer["usage"]["prompt_tokens"]
            if abs(tokens - wanted) <= tolerance and self.args.shortest <= tokens <= self.args.longest:
                return body, answer, tokens
            self.per_word = tokens / n
            n += round((wanted - tokens) / self.per_word) or (1 if tokens < wanted else -1)
        raise SystemExit(f"no prompt of {wanted} tokens could be made: the last has {tokens}")


def make_requests(server, args):
    """Requests, the tokens of each prompt, and what each is answered alone: its text, its tokens."""
    prompts, bodies, lengths, alone, made = Prompts(server, args), [], [], [], []
    for i in range(args.prompts):
        share = i if i < 2 else prompts.draw.random()
        wanted = round(args.shortest * (args.longest / args.shortest) ** share)
        body, answer, tokens = prompts.make(wanted, wanted // (100 if i < 2 else 20))
        bodies.append({**body, "stream": True})
        lengths.append(tokens)
        alone.append(answer["choices"][0]["text"])
        made.append(answer["usage"]["completion_tokens"])
    return bodies, lengths, alone, made


def request_bytes(server, body):
    data = json.dumps(body).encode()
    headers = {**server.headers, "Host": server.url.netloc, "Content-Length": len(data)}
    return ("POST /v1/completions HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode() + data


# --- Clients ---

class Tally:
    """What the answers took, while `counting`."""

    def __init__(self):
        self.first, self.between = array.array("d"), array.array("d")
        self.answers = self.events = self.together = self.tokens = 0
        self.counting, self.errors, self.unlike = False, [], []


class Client:
    """A connection that is kept. Nothing is parsed while an answer comes in but the number of events."""

    def __init__(self, address, tally, draw):
        self.address, self.tally, self.draw = address, tally, draw
        self.which = self.socket = None

    def open(self):
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        return self.socket.fileno()

    def begin(self, requests):
        self.which = self.draw.randrange(len(requests))
        self.unsent, self.parts, self.tail = requests[self.which], [], b""
        self.latest, self.any = time.perf_counter(), False
        self.write()

    def write(self):
        """True when all is out."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent):]
        except BlockingIOError:
            pass
        return not self.unsent

    def read(self):
        """True at the end of the answer."""
        data = self.socket.recv(1 << 18)
        now = time.perf_counter()
        self.parts.append(data)
        seen = self.tail + data
        self.tail = seen[-7:]
        events = seen.count(EVENT)
        if events:
            self.note(now, events)
        return not data or seen.endswith(END) or (len(self.parts) == 1 and not data.startswith(b"HTTP/1.1 200"))

    def note(self, now, events):
        tally = self.tally
        if tally.counting:
            (tally.between if self.any else tally.first).append(now - self.latest)
            tally.between.extend([0.0] * (events - 1))
            tally.events += events
            tally.together += events - 1
        self.latest, self.any = now, True

    def text(self):
        """The text of a complete answer; ValueError says what is wrong with it."""
        head, _, rest = b"".join(self.parts).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError((head.split(b"\r\n")[0] + b" " + rest[:200]).decode(errors="replace"))
        body, at = [], 0
        while at < len(rest):
            end = rest.index(b"\r\n", at)
            size = int(rest[at:end], 16)
            body.append(rest[end + 2:end + 2 + size])
            at = end + size + 4
        whole = b"".join(body)
        if b'"error"' in whole or not whole.endswith(b"data: [DONE]\n\n"):
            raise ValueError("the stream ended early: " + whole[-200:].decode(errors="replace"))
        return json.loads(b'"' + b"".join(TEXT.findall(whole)) + b'"')


class Load:
    """All clients in one loop, until the time is over and the last answers are in."""

    def __init__(self, server, args, bodies, alone, made):
        self.args, self.alone, self.made, self.tally = args, alone, made, Tally()
        self.requests = [request_bytes(server, body) for body in bodies]
        address = (server.url.hostname, server.url.port or 80)
        self.clients = [Client(address, self.tally, random.Random(i)) for i in range(args.clients)]
        self.poll, self.open = select.epoll(), {}

    def start(self, client):
        fd = client.open()
        self.open[fd] = client
        self.poll.register(fd, select.EPOLLIN)
        self.send(fd, client)

    def send(self, fd, client):
        client.begin(self.requests)
        self.poll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if client.unsent else 0))

    def end(self, fd, client):
        """The answer is there, whole or not."""
        tally, problem = self.tally, None
        try:
            text = client.text()
            if text != self.alone[client.which]:
                tally.unlike.append(f"request {client.which}: {text!r}, alone {self.alone[client.which]!r}")
        except (ValueError, IndexError) as error:
            problem = str(error)
        tally.answers += 1
        if tally.counting:
            tally.tokens += self.made[client.which]
        if problem:
            tally.errors.append(f"request {client.which}: {problem}")
            self.close(fd, client)
            if not self.over():
                self.start(client)
        elif self.over():
            self.close(fd, client)
        else:
            self.send(fd, client)

    def close(self, fd, client):
        self.poll.unregister(fd)
        client.socket.close()
        del self.open[fd]

    def over(self):
        return time.monotonic() > self.until or len(self.tally.errors) >= 100

    def turn(self):
        for fd, what in self.poll.poll(0.5):
            client = self.open[fd]
            try:
                if what & select.EPOLLOUT and client.write():
                    self.poll.modify(fd, select.EPOLLIN)
                if what & ~select.EPOLLOUT and client.read():
                    self.end(fd, client)
            except OSError as error:
                client.parts = [f"HTTP/1.1 000 {error!r}\r\n\r\n".encode()]
                self.end(fd, client)

    def run(self, memory, at_begin, at_end):
        self.until = time.monotonic() + self.args.warm_up + self.args.seconds
        begin, due = time.monotonic() + self.args.warm_up, 0
        for client in self.clients:
            self.start(client)
        while self.open:
            self.turn()
            now = time.monotonic()
            if not self.tally.counting and begin and now >= begin:
                self.tally.counting, begin = True, 0
                at_begin()
            if self.tally.counting and now >= due:
                memory.sample()
                due = now + 2
            if self.tally.counting and self.over():
                self.tally.counting = False
                at_end()


def fill_cache(server, args):
    """As many requests at once as there are clients, each longer than any of the load; again while that brings pages into
    use that never were: without a prefix cache the second time brings none."""
    draw, touched = random.Random(0), []
    told = server.metrics()
    tokens = min(args.longest + args.new_tokens, server.context() - 8)
    while "kv_cache_pages_touched" in told:
        touched.append(int(told["kv_cache_pages_touched"]))
        if touched[-1] >= told["kv_cache_pages_total"] or (len(touched) > 2 and touched[-1] <= touched[-2]):
            break
        hold(server, [[draw.randrange(3, 256) for _ in range(tokens)] for _ in range(args.clients)])
        told = server.metrics()
    return touched


def hold(server, prompts):
    """Has all prompts read and in the cache together, then leaves."""
    sockets, before = [], server.metrics()["prompt_tokens_total"]
    for ids in prompts:
        body = {"prompt": ids, "max_tokens": server.context() - len(ids), "ignore_eos": True, "stream": True}
        sockets.append(socket.create_connection((server.url.hostname, server.url.port or 80)))
        sockets[-1].sendall(request_bytes(server, body))
    wanted, until = before + sum(map(len, prompts)), time.monotonic() + 300
    while server.metrics()["prompt_tokens_total"] < wanted and time.monotonic() < until:
        time.sleep(0.1)
    for one in sockets:
        one.close()
    while server.metrics()["num_requests_running"] > 0:
        time.sleep(0.1)


# --- Memory ---

class Memory:
    """Resident bytes of all ranks below a process, sample by sample."""

    def __init__(self, root):
        self.page, self.samples, self.began = os.sysconf("SC_PAGE_SIZE"), [], time.monotonic()
        self.ranks = [pid for pid in family(root) if name_of(pid) == "tessera"] if root else []
        if root and not self.ranks:
            raise SystemExit(f"--pid {root}: no process named tessera there or below")

    def sample(self):
        if self.ranks:
            each = [int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * self.page for pid in self.ranks]
            self.samples.append((time.monotonic(), each))

    def report(self):
        """By the straight line of least squares through the sums, and their extremes."""
        times, sums = [t for t, _ in self.samples], [sum(each) for _, each in self.samples]
        n, mean_t, mean = len(sums), sum(times) / len(sums), sum(sums) / len(sums)
        spread = sum((t - mean_t) ** 2 for t in times)
        slope = sum((t - mean_t) * (s - mean) for t, s in zip(times, sums)) / spread if spread else 0
        return {"ranks": len(self.ranks), "samples": n, "first_mb": [round(x / 1e6, 1) for x in self.samples[0][1]],
                "last_mb": [round(x / 1e6, 1) for x in self.samples[-1][1]],
                "line_percent": round(100 * slope * (times[-1] - times[0]) / mean, 2),
                "range_percent": round(100 * (max(sums) / min(sums) - 1), 2)}


def name_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def family(root):
    """A process and all below it."""
    found, pids = [], [root]
    while pids:
        found.append(pids.pop())
        try:
            for task in pathlib.Path(f"/proc/{found[-1]}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            pass
    return found


# --- What is told ---

def quantiles_ms(values):
    values = sorted(values)
    at = lambda q: round(1e3 * values[min(len(values) - 1, int(q * len(values)))], 2)
    return {"p50": at(0.5), "p95": at(0.95), "p99": at(0.99)} if values else None


def server_quantiles_ms(name, before, after):
    """From the histogram's buckets, linear within one."""
    bounds = sorted((float(key.split('"')[1]), after[key] - before[key]) for key in after if key.startswith(name + "_bucket"))
    if not bounds or bounds[-1][1] <= 0:
        return None
    told = {}
    for label, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        wanted, low, below = q * bounds[-1][1], 0.0, 0.0
        for bound, count in bounds:
            if count >= wanted:
                told[label] = round(1e3 * (low + (bound - low) * (wanted - below) / (count - below)), 2)
                break
            low, below = bound, count
    return told


def overhead(before, after, seconds):
    """What is not the model's, in percent of the time of all steps."""
    grown = {key: after[key] - before.get(key, 0) for key in after}
    stages = {key.split('"')[1]: grown[key] for key in grown if key.startswith("step_host_seconds_total")}
    busy = grown["step_seconds_sum"] + stages.get("admit", 0) + stages.get("hand_out", 0)
    if busy <= 0:
        raise SystemExit(f"the server ended no step in {seconds:.1f} s: nothing was measured")
    told = {name: round(100 * value / busy, 2) for name, value in stages.items()}
    http, cores = 100 * grown.get("http_cpu_seconds_total", 0) / busy, os.cpu_count()
    told["http_cpu"] = round(http / cores, 2)
    return {"percent_of_steps": told, "sum_percent": round(sum(told.values()), 2),
            "cores": cores, "http_cpu_percent_of_one_core": round(http, 2),
            "ms_a_step": round(1e3 * busy / max(1, grown["step_seconds_count"]), 2),
            "steps_a_second": round(grown["step_seconds_count"] / seconds, 1), "busy_percent": round(100 * busy / seconds, 1)}


def prefix_hits(before, after):
    """Of the tokens of all prompts: those that a prefix cache spared."""
    looked, found = (after.get(f"prefix_cache_{x}_total", 0) - before.get(f"prefix_cache_{x}_total", 0) for x in ("queries", "hits"))
    return round(100 * found / looked, 1) if looked else 0


def bars_of(told, args):
    between, bars = told["between_events_ms"], {}

    def bar(name, found, bound):
        bars[name] = {"found": found, "at_most": bound, "holds": found is not None and found <= bound}

    bar("errors", told["errors"], 0)
    bar("unlike_alone", told["unlike_alone"], 0)
    bar("p95_to_p50", round(between["p95"] / between["p50"], 2) if between and between["p50"] else None, 2)
    bar("overhead_percent", told["overhead"]["sum_percent"], 5)
    if args.pid:
        bar("memory_line_percent", told["memory"]["line_percent"], args.grow)
        bar("memory_range_percent", told["memory"]["range_percent"], args.grow)
    return bars


def measure(args):
    server = Server(args)
    context = server.context()
    if args.longest + args.new_tokens > context:
        raise SystemExit(f"prompts of {args.longest} tokens and {args.new_tokens} new ones do not fit in the context of "
                         f"{context}: give the server --context {args.longest + args.new_tokens}")
    memory, seen, cpu = Memory(args.pid), [], []
    bodies, lengths, alone, made = make_requests(server, args)
    filled = fill_cache(server, args) if args.fill else None
    load = Load(server, args, bodies, alone, made)

    def look():
        seen.append((time.monotonic(), server.metrics()))
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu.append(used.ru_utime + used.ru_stime)

    load.run(memory, look, look)
    (began, before), (ended, after) = seen
    tally, seconds = load.tally, ended - began
    told = {"clients": args.clients, "seconds": round(seconds, 1), "warm_up_seconds": args.warm_up,
            "prompt_tokens": {"least": min(lengths), "mean": round(sum(lengths) / len(lengths), 1), "most": max(lengths)},
            "answers": tally.answers, "errors": len(tally.errors), "first_errors": tally.errors[:3],
            "unlike_alone": len(tally.unlike), "first_unlike": tally.unlike[:3],
            "tokens_per_second": round((after["generation_tokens_total"] - before["generation_tokens_total"]) / seconds, 1),
            "prompt_tokens_per_second": round((after["prompt_tokens_total"] - before["prompt_tokens_total"]) / seconds, 1),
            "prefix_hits_percent": prefix_hits(before, after),
            "first_event_ms": quantiles_ms(tally.first), "between_events_ms": quantiles_ms(tally.between),
            "events": tally.events, "events_together_percent": round(100 * tally.together / max(1, tally.events), 2),
            "server_between_ms": server_quantiles_ms("inter_token_latency_seconds", before, after),
            "server_first_token_ms": server_quantiles_ms("time_to_first_token_seconds", before, after),
            "server_step_ms": server_quantiles_ms("step_seconds", before, after),
            "overhead": overhead(before, after, seconds), "client_cpu_percent": round(100 * (cpu[1] - cpu[0]) / seconds, 1),
            "cache_pages": {"total": int(after["kv_cache_pages_total"]), "touched_by_fill": filled,
                            "touched_early": int(before["kv_cache_pages_touched"]), "touched_late": int(after["kv_cache_pages_touched"])}, "memory": memory.report() if args.pid else None}
    told["bars"] = bars_of(told, args)
    return told


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", default="")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="of the load, after the warm-up")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds under load before anything is counted")
    parser.add_argument("--prompts", type=int, default=256, help="different requests; at least 2")
    parser.add_argument("--shortest", type=int, default=20, help="tokens of a prompt")
    parser.add_argument("--longest", type=int, default=1500)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--pid", type=int, help="process whose memory is looked at, with those below it")
    parser.add_argument("--grow", type=float, default=2, help="percent that it may grow by")
    parser.add_argument("--no-fill", dest="fill", action="store_false", help="do not bring all of the cache into use first")
    parser.add_argument("--seed", type=int, default=1)
    told = measure(parser.parse_args())
    print(json.dumps(told, indent=1))
    return 0 if all(bar["holds"] for bar in told["bars"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
