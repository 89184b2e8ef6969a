#!/usr/bin/env python3
"""Measures what checkpoints cost: converting, resharding, and loading from each form of storage.

    measure_checkpoints.py BUILD/tessera FOLDER [--rounds N] [--keep]

Makes two models of random weights in FOLDER, which must be on the disk to measure and have 16 GB free: a Llama of about
2 GB in safetensors, and the same bytes' worth of GPT-2, whose layers are fused and transposed, as a PyTorch .bin.
Then, in every round, in turns:

- `cp` of the Llama, once as it is and once with the files synced to the disk, as the converter does;
- converting it for 4 ranks, those files for 2, those back into plain files: each with its rate beside that of `cp`, and
  the peak of its memory; at the end the tensors are compared byte by byte;
- loading on 2 ranks: plain safetensors, the cache of the same, .bin, the cache of the .bin, from the page cache.

Prints medians. Python's standard library only; a machine with nothing else to do.
"""
import argparse
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import statistics
import struct
import subprocess
import sys
import time

from random_models import SHAPES, Numbers, make_gpt2, make_llama


def make_models(folder):
    numbers = Numbers()
    make_llama(folder / "llama", numbers, SHAPES["llama-2gb"])
    make_gpt2(folder / "gpt2", numbers)


def timed(line):
    """(seconds, peak resident bytes, stderr) of a command that must succeed."""
    begin = time.monotonic()
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, line))}: exit code {os.waitstatus_to_exitcode(status)}\n{said}")
    return time.monotonic() - begin, usage.ru_maxrss * 1024, said


def sync(folder):
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def copy(source, to, synced):
    shutil.rmtree(to, ignore_errors=True)
    begin = time.monotonic()
    subprocess.run(["cp", "-r", source, to], check=True)
    if synced:
        sync(to)
    return time.monotonic() - begin


def convert(program, source, to, *options):
    shutil.rmtree(to, ignore_errors=True)
    return timed([program, "convert", "--model", source, "--output", to, "--quiet", *options])


def load(program, folder, *options):
    """Seconds that the slower of two ranks took to load, as the program says."""
    line = ["mpirun", "--oversubscribe", "-n", "2", program, "score", "--model", folder, "--ids", "1,2", *options]
    said = timed(line)[2]
    found = re.findall(r"a rank, ([0-9.]+) s", said)
    if not found:
        sys.exit(f"no loading time in: {said}")
    return float(found[-1])


def tensors_of(folder):
    """{name: bytes of the file it lies in}, one after the other, so that a whole model is never in memory."""
    for path in sorted(folder.glob("*.safetensors")):
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            for name, told in header.items():
                file.seek(8 + size + told["data_offsets"][0])
                yield name, (told["dtype"], told["shape"], hash(file.read(told["data_offsets"][1] - told["data_offsets"][0])))


def measure(args, folder, size):
    seconds, peaks = {}, {}

    def note(what, took, peak=0):
        seconds.setdefault(what, []).append(took)
        peaks[what] = max(peaks.get(what, 0), peak)

    llama, gpt2, cache = folder / "llama", folder / "gpt2", folder / "cache"
    for _ in range(args.rounds):
        note("cp", copy(llama, folder / "copy", False))
        note("cp, synced", copy(llama, folder / "copy", True))
        for what, source, to, options in (("convert for 4 ranks", llama, "four", ("--tp", "4")),
                                          ("4 ranks to 2", folder / "four", "two", ("--tp", "2")),
                                          ("2 ranks to plain", folder / "two", "plain", ("--format", "safetensors"))):
            note(what, *convert(args.tessera, source, folder / to, *options)[:2])
    same = dict(tensors_of(llama)) == dict(tensors_of(folder / "plain"))
    for made in ("copy", "four", "two", "plain"):  # what is loaded next should fit into the page cache
        shutil.rmtree(folder / made)
    cache.mkdir(mode=0o700, exist_ok=True)
    for source in (llama, gpt2):
        load(args.tessera, source, "--cache", str(cache))  # writes it
    for _ in range(args.rounds + 1):  # the first one brings all to the page cache
        note("load safetensors", load(args.tessera, llama))
        note("load its cache", load(args.tessera, llama, "--cache", str(cache)))
        note("load .bin, fused and transposed", load(args.tessera, gpt2))
        note("load its cache ", load(args.tessera, gpt2, "--cache", str(cache)))
    for what in [what for what in seconds if what.startswith("load")]:
        seconds[what].pop(0)
    base = statistics.median(seconds["cp, synced"]), statistics.median(seconds["cp"])
    print(f"{size / 1e9:.2f} GB, {args.rounds} rounds; after 4 ranks, 2 and back the tensors are "
          f"{'the same bytes' if same else 'DIFFERENT'}\n")
    print(f"{'':34} {'seconds':>8} {'GB/s':>6} {'to cp synced':>13} {'to cp':>6} {'peak MB':>8}")
    for what, took in seconds.items():
        median = statistics.median(took)
        beside = f"{base[0] / median:12.2f}x {base[1] / median:5.2f}x" if "load" not in what else " " * 20
        peak = f"{peaks[what] / 1e6:8.0f}" if peaks[what] else ""
        print(f"{what:34} {median:8.2f} {size / median / 1e9:6.2f} {beside} {peak}")
    return same


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tessera", help="the program to measure")
    parser.add_argument("folder", type=pathlib.Path, help="where to put the models; removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the models there for another time")
    args = parser.parse_args()
    folder = args.folder
    if not (folder / "llama").exists():
        # In a process of its own: what is started later would count this one's peak of memory as its own.
        maker = multiprocessing.Process(target=make_models, args=(folder,))
        maker.start()
        maker.join()
    same = measure(args, folder, (folder / "llama" / "model.safetensors").stat().st_size)
    if not args.keep:
        shutil.rmtree(folder)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
