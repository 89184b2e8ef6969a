#!/usr/bin/env python3
"""siege_ends.py: a server that is ended under load at random moments, by signals and by violence: every request gets a
whole answer or a clear error, the exit code is the one that docs/serving.md names, and nothing is left. Run by hand:

    tests/program/siege_ends.py build/tessera [--ranks 2] [CASE...]
"""
import contextlib
import http.client
import json
import math
import pathlib
import random
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time

import siege
import support
from server import JSON, Server
from siege import COMPLETIONS, INVOCATIONS, LONG, dial, receive, request, take_answer

CLIENTS = 16
TIMES = 20
DRAIN = 30

ASKS = (  # path, body, how a whole answer ends
    (COMPLETIONS, {**LONG, "max_tokens": 120}, b'}}'),
    (COMPLETIONS, {**LONG, "max_tokens": 120, "stream": True}, b"data: [DONE]"),
    (INVOCATIONS, {"inputs": "The", "parameters": {"max_new_tokens": 120}}, b"}"),
    (INVOCATIONS, {"inputs": "The", "parameters": {"max_new_tokens": 120}, "stream": True}, b"}"),
    (INVOCATIONS, {"inputs": ["The", "A"], "parameters": {"max_new_tokens": 120, "output_formatter": "sse"}}, b"}"),
    (COMPLETIONS, {**LONG, "max_tokens": 700, "n": 2, "stream": True, "logprobs": 2}, b"data: [DONE]"))


class Load:
    """Clients that ask until nobody is there any more. What became of their requests is counted."""

    def __init__(self, port):
        self.port, self.told, self.cut, self.lock, self.ends = port, {}, [], threading.Lock(), False
        self.threads = [threading.Thread(target=self.ask, args=(i,), daemon=True) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def count(self, what):
        with self.lock:
            self.told[what] = self.told.get(what, 0) + 1

    def ask(self, number):
        while not self.ends:
            path, body, end = ASKS[number % len(ASKS)]
            try:
                c = dial(self.port, number)
            except ConnectionError:
                self.count("nobody there")
                return
            with c:
                try:
                    c.sendall(request(body, path, "Connection: close"))
                    data = receive(c)
                except ConnectionError:
                    data = b""
            what = self.judge(data, end)
            self.count(what)
            time.sleep(0.05 if what == "503" else 0)

    def judge(self, data, end):
        try:
            answer = take_answer(data)
        except siege.Cut as cut:
            with self.lock:
                self.cut.append(repr(cut)[-300:])
            return "cut"
        if not answer:
            return "no answer"
        status, headers, body, _ = answer
        if status != 200:
            siege.error_of(status, headers, body)
            return f"{status}"
        last = body.rstrip().rsplit(b"\n", 1)[-1]
        if b'"error"' in last or b'"error"' in body[-600:]:
            return "200, then an error"
        if not last.endswith(end):
            with self.lock:
                self.cut.append(repr(body[-300:]))
            return "cut"
        return "200, whole"

    def finish(self):
        self.ends = True
        for thread in self.threads:
            thread.join(60 * support.SLOWNESS)
        assert not any(thread.is_alive() for thread in self.threads), "a client still waits"
        return self.told


def ended(server, processes, load, codes, seconds):
    """Waits for the end and checks what must always hold; what was seen."""
    code, took = siege.end_of(server, seconds)
    left = processes.wait_gone(10)
    told = load.finish() if load else {}
    lines = [line for line in server.lines if line.startswith("tessera")]
    assert code in codes, (code, codes, lines[-5:])
    assert left is not None, f"left behind: {processes.alive()}"
    assert not siege.listens(server.port), "the port is taken"
    assert not told.get("cut"), (told, load.cut[:3], lines[-5:])
    return code, took, told


def add(total, told):
    for key, n in told.items():
        total[key] = total.get(key, 0) + n


def signals(args):
    """SIGTERM to rank 0, and what the launcher passes on, at random moments."""
    ways = [("SIGTERM to rank 0", signal.SIGTERM, True)]
    if args.ranks:
        ways.append(("SIGUSR1 to mpirun", signal.SIGUSR1, False))
    for name, number, to_rank in ways:
        total, slowest = {}, 0
        for _ in range(max(2, int(TIMES * args.scale))):
            server = siege.start("--max-sequences", 8, "--drain-timeout", DRAIN * support.SLOWNESS, ranks=args.ranks)
            processes = siege.Processes(server)
            load = Load(server.port)
            time.sleep(random.random() * 1.5)
            if to_rank:
                processes.kill(0, number)
            else:
                server.signal(number)
            _, took, told = ended(server, processes, load, (0,), 2 * DRAIN)
            slowest = max(slowest, took)
            add(total, told)
        assert slowest < DRAIN * support.SLOWNESS and total.get("200, whole", 0) > 0, (slowest, total)
        print(f"signals: {max(2, int(TIMES * args.scale))} x {name}: exit code 0, at most {slowest:.1f} s; {total}", flush=True)


def launcher(args):
    """SIGTERM to mpirun, which gives its ranks little time."""
    if not args.ranks:
        return
    total, slowest, codes = {}, 0, {}
    for _ in range(max(2, int(TIMES * args.scale))):
        server = siege.start("--max-sequences", 8, ranks=args.ranks)
        processes = siege.Processes(server)
        load = Load(server.port)
        time.sleep(random.random() * 1.5)
        server.signal(signal.SIGTERM)
        code, took, told = ended(server, processes, load, range(1, 256), 30)
        slowest = max(slowest, took)
        codes[code] = codes.get(code, 0) + 1
        add(total, told)
    print(f"launcher: SIGTERM to mpirun: exit codes {codes}, at most {slowest:.1f} s; {total}", flush=True)


def second(args):
    """A second signal: at once."""
    server = siege.start(ranks=args.ranks)
    processes = siege.Processes(server)
    load = Load(server.port)
    time.sleep(1)
    processes.kill(0, signal.SIGTERM)
    time.sleep(0.05)
    processes.kill(0, signal.SIGTERM)
    code, took, told = ended(server, processes, load, (143, 0), 20)
    print(f"second: exit code {code} after {took:.1f} s; {told}", flush=True)


def lost(args):
    """A rank, or the launcher, is killed under load."""
    for victim in range(-1 if args.ranks else 0, max(1, args.ranks)):
        server = siege.start(ranks=args.ranks)
        processes = siege.Processes(server)
        load = Load(server.port)
        time.sleep(random.random() + 0.2)
        began = time.monotonic()
        if victim < 0:
            server.process.kill()
        else:
            processes.kill(victim, signal.SIGKILL)
        code, _ = siege.end_of(server, 30)
        gone = processes.wait_gone(10)
        took = time.monotonic() - began
        told = load.finish()
        name = f"rank {victim}" if victim >= 0 else "mpirun"
        print(f"lost: SIGKILL of {name}: exit code {code}, all gone after {took:.1f} s, left {processes.alive()}; {told}", flush=True)
        assert code not in (0, None) and gone is not None and took < 10 * support.SLOWNESS
        assert victim != 1 or not told.get("cut"), load.cut[:3]


def stopped(args):
    """A rank that is stopped for longer than a step may take."""
    for victim in range(1, args.ranks):
        server = siege.start("--deadline", 3, ranks=args.ranks)
        processes = siege.Processes(server)
        load = Load(server.port)
        time.sleep(random.random() + 0.2)
        processes.kill(victim, signal.SIGSTOP)
        began = time.monotonic()
        states = set()
        while siege.alive(server.process.pid) and time.monotonic() - began < 20 * support.SLOWNESS:
            with contextlib.suppress(OSError, http.client.HTTPException):
                states.add(server.get("/health")[::2])
            time.sleep(0.1)
        code, _ = siege.end_of(server, 30)
        took, gone, told = time.monotonic() - began, processes.wait_gone(10), load.finish()
        print(f"stopped: SIGSTOP of rank {victim}, --deadline 3: exit code {code} after {took:.1f} s; {told}; "
              f"/health told {sorted(states)}", flush=True)
        assert code == 5 and gone is not None and not told.get("cut"), load.cut[:3]


def large_model(folder):
    """The example's tokenizer with weights of nothing but zeros, which take their time to load: a file with holes."""
    config = json.loads((siege.SHAKESPEARE / "config.json").read_text())
    hidden, inner, layers, kv = 2048, 8192, 20, 4 * 64
    config.update(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=32, head_dim=64)
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    for i in range(layers):
        shapes.update({f"model.layers.{i}.{name}.weight": shape for name, shape in (
            ("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (kv, hidden)), ("self_attn.v_proj", (kv, hidden)),
            ("self_attn.o_proj", (hidden, hidden)), ("mlp.gate_proj", (inner, hidden)), ("mlp.up_proj", (inner, hidden)),
            ("mlp.down_proj", (hidden, inner)), ("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,)))})
    header, at = {}, 0
    for name, shape in shapes.items():
        n = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(siege.SHAKESPEARE / name, folder / name)
    return folder


def loading(args):
    """While a model is being loaded there is an answer, 503, and after too long of it an end."""
    with tempfile.TemporaryDirectory() as folder:
        model = large_model(pathlib.Path(folder))
        states = {}
        server = Server(model, ranks=args.ranks, until_ready=False)
        while True:
            status, _, data = server.get("/health")
            asked, headers, _ = server.ask("POST", COMPLETIONS, json.dumps({**LONG, "max_tokens": 1}).encode(), JSON)
            add(states, {(status, data.decode().strip(), asked, headers["Retry-After"]): 1})
            if status == 200:
                break
        processes = siege.Processes(server)
        processes.kill(0, signal.SIGTERM)
        code, took, _ = ended(server, processes, None, (0,), 30)
        print(f"loading: /health, and a request: {states}; exit code {code}", flush=True)
        assert any(state[0] == 503 and state[2] == 503 and state[3] for state in states), states
        server = Server(model, "--model-loading-timeout", 1, ranks=args.ranks, until_ready=False)
        processes = siege.Processes(server)
        code, took, _ = ended(server, processes, None, (5,), 30)
        print(f"loading: --model-loading-timeout 1: exit code {code} after {took:.1f} s", flush=True)


CASES = {case.__name__: case for case in (signals, launcher, second, lost, stopped, loading)}


def main():
    args = siege.arguments(__doc__)
    failed = []
    for name in args.cases or CASES:
        try:
            CASES[name](args)
        except Exception as error:
            failed.append(name)
            print(f"{name}: FAILED: {error!r}", flush=True)
    print("failed: " + ", ".join(failed) if failed else "nothing failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
