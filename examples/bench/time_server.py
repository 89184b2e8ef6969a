#!/usr/bin/env python3
"""time_server.py: tokens a second of HTTP servers that speak /v1/completions, side by side.

    examples/bench/time_server.py --vocabulary 49152 ours=http://127.0.0.1:8080 peer=http://127.0.0.1:8081

Every server is up the whole time and they take turns, round by round, so that a drift of the machine meets all alike.
A turn: so many clients, each sending one streamed request behind another for --seconds; prompts are random token ids,
no two alike, so that nothing can be taken from a cache of prompts; all answers have the same length (ignore_eos). What
began in a turn is waited for, and its tokens and time count. A table of medians and extremes goes to stdout, one row
for each number of clients; --json prints the rounds instead. Standard library only.
"""
import argparse
import asyncio
import json
import random
import statistics
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def request_bytes(args, where, draw):
    """One request; bos in front of random ids that are neither special tokens of small number nor bos again."""
    ids = [draw.randrange(260, args.vocabulary) for _ in range(args.prompt_tokens)]
    body = json.dumps({"prompt": ids, "max_tokens": args.new_tokens, "temperature": 0, "ignore_eos": True,
                       "stream": True}).encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    return head.encode() + body


async def ask(args, where, draw, times):
    """Sends one request; times gets the seconds to the first piece of text and to the end."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request_bytes(args, where, draw))
    answer, first = b"", None
    while piece := await reader.read(1 << 16):
        answer += piece
        if first is None and b"data:" in answer:
            first = time.monotonic() - began
    writer.close()
    if b" 200 " not in answer[:16] or b"[DONE]" not in answer:
        raise RuntimeError(f"{where.netloc}: no whole answer: {answer[:300]!r}")
    times.append((first, time.monotonic() - began))


async def client(args, where, draw, times, until):
    while time.monotonic() < until:
        await ask(args, where, draw, times)


async def turn(args, url, clients, draw):
    """Tokens a second of all clients, and the median time to the first piece."""
    where, times, began = urllib.parse.urlsplit(url), [], time.monotonic()
    await asyncio.gather(*(client(args, where, draw, times, began + args.seconds) for _ in range(clients)))
    seconds = time.monotonic() - began
    return {"tokens_per_second": len(times) * args.new_tokens / seconds, "requests": len(times), "seconds": seconds,
            "first_piece": statistics.median(first for first, _ in times)}


def wait_until_ready(url, seconds=300):
    """A server that still loads its model is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url + "/health", timeout=5):
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{url}/health: not ready after {seconds} s: {error}") from None
        time.sleep(0.2)


async def measure(args, servers):
    """All turns, as a list of records."""
    draw, rounds = random.Random(args.seed), []
    for url in servers.values():
        wait_until_ready(url)
        await turn(argparse.Namespace(**{**vars(args), "seconds": 0.1}), url, 1, draw)
    for clients in args.clients:
        for number in range(args.rounds):
            for name, url in servers.items():
                record = {"server": name, "clients": clients, "round": number} | await turn(args, url, clients, draw)
                print(f"{name}: {clients} clients: {record['tokens_per_second']:.1f} tokens/s", file=sys.stderr)
                rounds.append(record)
    return rounds


def print_table(args, servers, rounds):
    first = next(iter(servers))
    print(f"| clients | {' | '.join(f'{n} tokens/s' for n in servers)} | {first} / others | first piece, s |")
    print("| --- " * (len(servers) + 3) + "|")
    for clients in args.clients:
        rates, waits = {}, []
        for name in servers:
            mine = [r for r in rounds if r["server"] == name and r["clients"] == clients]
            rates[name] = [r["tokens_per_second"] for r in mine]
            waits.append(f"{statistics.median(r['first_piece'] for r in mine):.3f}")
        medians = {name: statistics.median(r) for name, r in rates.items()}
        cells = [f"{medians[n]:.1f} ({min(r):.1f} to {max(r):.1f})" for n, r in rates.items()]
        ratios = [f"{medians[first] / medians[n]:.2f}" for n in servers if n != first]
        print(f"| {clients} | {' | '.join(cells)} | {', '.join(ratios)} | {', '.join(waits)} |")


def main():
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="+", metavar="NAME=URL")
    parser.add_argument("--vocabulary", type=int, required=True, help="ids are drawn below this")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    servers = dict(s.split("=", 1) for s in args.servers)
    rounds = asyncio.run(measure(args, servers))
    if args.json:
        print(json.dumps(rounds))
    else:
        print_table(args, servers, rounds)


if __name__ == "__main__":
    main()
