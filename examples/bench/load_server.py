#!/usr/bin/env python3
"""load_server.py: many clients against `tessera serve` for a while: errors, wrong answers, times, memory.

    tessera serve --model examples/models/shakespeare &
    examples/bench/load_server.py --clients 64 --seconds 600 --pid $!

Each client sends one greedy streamed completion after another, with prompts of unlike lengths from a fixed set, and
compares every answer with what the same request gave alone, before the load. Standard library only. With --pid the
resident memory of that process and its children is looked at, from the first fifth of the time to the end. Prints one
JSON object; the exit status is 1 if anything failed, differed or grew.
"""
import argparse
import http.client
import json
import pathlib
import random
import statistics
import sys
import threading
import time
import urllib.parse

WORDS = ("the a my thy of and to in that is not with for his her be this it your what shall will so as have do but good "
         "lord king sir man love come let night day death heart hand eye world speak hear never time").split()


def make_bodies(args):
    """Prompts of args.shortest to args.longest words, more short ones than long ones."""
    draw = random.Random(args.seed)
    bodies = []
    for _ in range(args.prompts):
        n = round(args.shortest * (args.longest / args.shortest) ** draw.random())
        prompt = " ".join(draw.choice(WORDS) for _ in range(n))
        bodies.append({"prompt": prompt, "max_tokens": draw.randint(8, args.new_tokens), "temperature": 0, "stream": True})
    return bodies


class Client:
    """One connection that is kept, and what its answers took."""

    def __init__(self, args):
        url = urllib.parse.urlsplit(args.url)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=300)
        self.headers = {"Content-Type": "application/json"}
        if args.key:
            self.headers["Authorization"] = f"Bearer {args.key}"
        self.first, self.between, self.tokens = [], [], 0

    def ask(self, body):
        """The text of the answer; an error is an exception."""
        began = latest = time.monotonic()
        self.connection.request("POST", "/v1/completions", json.dumps(body), self.headers)
        response = self.connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {response.read()[:200]!r}")
        text, done = "", False
        for line in response:
            if line == b"data: [DONE]\n":
                done = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                now = time.monotonic()
                if "error" in event:
                    raise RuntimeError(event["error"]["message"])
                text += event["choices"][0]["text"]
                (self.between if latest > began else self.first).append(now - latest)
                latest = now
                self.tokens += 1
        if not done:
            raise RuntimeError("the stream ended early")
        return text


def resident(pid):
    """Bytes of the process and its children."""
    total, pids = 0, [pid]
    while pids:
        one = pids.pop()
        try:
            for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                pids += map(int, (task / "children").read_text().split())
        except OSError:
            pass
    return total


class Load:
    def __init__(self, args, bodies, alone):
        self.args, self.bodies, self.alone = args, bodies, alone
        self.clients = [Client(args) for _ in range(args.clients)]
        self.until = time.monotonic() + args.seconds
        self.answers, self.errors, self.lock = 0, [], threading.Lock()

    def work(self, number):
        draw = random.Random(number)
        while time.monotonic() < self.until and len(self.errors) < 100:
            which = draw.randrange(len(self.bodies))
            try:
                wrong = self.clients[number].ask(self.bodies[which]) != self.alone[which]
                problem = f"request {which} was answered otherwise than alone" if wrong else None
            except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
                problem = f"request {which}: {error!r}"
            with self.lock:
                self.answers += 1
                if problem:
                    self.errors.append(problem)

    def run(self):
        threads = [threading.Thread(target=self.work, args=(i,)) for i in range(self.args.clients)]
        began = time.monotonic()
        memory = []
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(min(1, self.args.seconds / 20))
            if self.args.pid:
                memory.append(resident(self.args.pid))
        return self.report(time.monotonic() - began, memory)

    def report(self, seconds, memory):
        first = [x for client in self.clients for x in client.first]
        between = [x for client in self.clients for x in client.between]
        told = {"clients": self.args.clients, "seconds": round(seconds, 1), "answers": self.answers,
                "events_per_second": round(sum(client.tokens for client in self.clients) / seconds, 1),
                "errors": len(self.errors), "first_errors": self.errors[:5]}
        for name, values in (("first_event_ms", first), ("between_events_ms", between)):
            if len(values) > 1:
                cuts = statistics.quantiles(values, n=100)
                told[name] = {"p50": round(cuts[49] * 1e3, 2), "p95": round(cuts[94] * 1e3, 2), "p99": round(cuts[98] * 1e3, 2)}
        if memory:
            early = memory[len(memory) // 5]
            told["resident_mb"] = {"early": round(early / 1e6, 1), "end": round(memory[-1] / 1e6, 1)}
            told["grown_percent"] = round(100 * (memory[-1] / early - 1), 2) if early else None
        return told


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--key", default="")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--prompts", type=int, default=48, help="different requests")
    parser.add_argument("--shortest", type=int, default=20, help="words of a prompt")
    parser.add_argument("--longest", type=int, default=600)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--pid", type=int, help="process whose memory is looked at")
    parser.add_argument("--grow", type=float, default=2, help="percent that it may grow by")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bodies = make_bodies(args)
    alone = [Client(args).ask(body) for body in bodies]
    told = Load(args, bodies, alone).run()
    print(json.dumps(told, indent=1))
    return 1 if told["errors"] or (told.get("grown_percent") or 0) > args.grow else 0


if __name__ == "__main__":
    sys.exit(main())
