#!/usr/bin/env python3
"""Broken and malicious torch files: each ends in one clear line and exit code 3, and nothing in them is run.

    check_hostile_torch.py BUILD/tessera
"""
import io
import json
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import warnings
import zipfile

from torchfile import Tensor, read_instance, torch_bytes

GPT2 = pathlib.Path(__file__).resolve().parent.parent / "oracle" / "gpt2_base"
TESSERA = None


def archive(entries, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as z:
        warnings.simplefilter("ignore")  # of duplicate names
        for name, data in entries:
            z.writestr(name, data)
    return out.getvalue()


def file_of(pickled):
    return archive([("a/data.pkl", pickled), ("a/data/0", bytes(8))])


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x02tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("


def tensor(offset=b"K\0", size=b"K\x02\x85", stride=b"K\x01\x85", storage=STORAGE):
    return b"\x80\x02}" + text("a") + REBUILD + storage + offset + size + stride + b"\x89}tRs."


def long8(value):
    return b"\x8a\x08" + struct.pack("<q", value)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os
        return os.system, (f"touch {self.path}",)


class Torch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="tessera-hostile-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(GPT2 / "config.json", self.folder)

    def refused(self, data, expected, name="pytorch_model.bin", codes=(3,)):
        (self.folder / name).write_bytes(data)
        done = subprocess.run([TESSERA, "generate", "--model", self.folder, "--ids", "1", "--max-new-tokens", "1"],
                              capture_output=True, text=True, timeout=60)
        self.assertIn(done.returncode, codes, done.stderr[-2000:])
        lines = done.stderr.strip().splitlines()
        self.assertEqual(len(lines), 1, done.stderr[-2000:])
        self.assertRegex(lines[0], expected)

    def test_pickles(self):
        for data, expected in (
                (b"", "malformed pickle"), (b"\x80\x02", "malformed pickle"), (b"\x80\x01}.", "protocol 1"),
                (b"\x80\x06}.", "protocol 6"), (b"}.", "no protocol"), (b"\x80\x02}}.", "left over"),
                (b"\x80\x02}.}", "follows its end"), (b"\x80\x02R.", "missing"), (b"\x80\x02(.", "missing"),
                (b"\x80\x02h\x05.", "never given"), (b"\x80\x02}r\xff\xff\xff\xff.", "memo number"),
                (b"\x80\x02X\xff\xff\xff\xffab.", "beyond the end"), (b"\x80\x04\x8d" + b"\xff" * 8 + b".", "length"),
                (b"\x80\x04\x95" + struct.pack("<Q", 99) + b"}.", "frame"), (b"\x80\x02I5\n.", "opcode 0x49"),
                (b"\x80\x02\x82\x01.", "opcode 0x82"), (b"\x80\x05\x97.", "opcode 0x97"), (b"\x80\x02]K\x01K\x02s.", "no dict"),
                (b"\x80\x02K\x01.", "no dict of tensors"), (b"\x80\x02}.", "no tensors"),
                (b"\x80\x02}q\0" + text("a") + b"h\0s.", "nested deeper"),
                (b"\x80\x02(", "malformed pickle")):
            with self.subTest(pickle=data[:40]):
                self.refused(file_of(data), expected)

    def test_shared_dicts_do_not_explode(self):
        clean = b"\x80\x02}q\0"
        for i in range(40):
            clean += b"0}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"uq" + bytes([i + 1])
        self.refused(file_of(clean + b"."), "more than")

    def test_tensors(self):
        big = long8(1 << 62)
        for data, expected in (
                (tensor(size=b"K\x03\x85"), "beyond its storage"), (tensor(offset=b"K\x01"), "beyond its storage"),
                (tensor(offset=long8(-1)), "beyond its storage"), (tensor(size=long8(-2) + b"\x85"), "negative"),
                (tensor(stride=long8(-1) + b"\x85"), "strides"), (tensor(stride=b"K\x02\x85"), "beyond its end"),
                (tensor(stride=big + b"\x85"), "beyond its end"), (tensor(size=big + big + b"\x86", stride=b"K\x01K\x01\x86"), "too large"),
                (tensor(size=b"K\x02K\x02\x86"), "unknown way"), (tensor(size=big + b"\x85", stride=b"K\0\x85"), "larger than its storage"),
                (tensor(storage=STORAGE.replace(b"K\x02tQ", b"K\x03tQ")), "3 F32 elements, found 8 bytes"),
                (tensor(storage=STORAGE.replace(b"K\x02tQ", big + b"tQ")), "found 8 bytes"),
                (tensor(storage=STORAGE.replace(text("0"), text("../0"))), "not in the archive"),
                (tensor(storage=STORAGE.replace(b"FloatStorage", b"NoSuchStorage")), "unknown number format"),
                (tensor(storage=b"K\x01"), "unknown way")):
            with self.subTest(pickle=data[:80]):
                self.refused(file_of(data), expected)
        twice = tensor()[:-2].replace(b"\x80\x02}", b"\x80\x02}(") + tensor()[3:-2] + b"u."
        self.refused(file_of(twice), "twice")

    def test_archives(self):
        whole = torch_bytes({"wte.weight": Tensor("F32", [2], bytes(8))})
        entries = [("a/data.pkl", tensor()), ("a/data/0", bytes(8))]
        end = whole.rindex(b"PK\5\6")
        central = whole.index(b"PK\1\2")
        for data, expected in (
                (b"", "not a torch file"), (b"PK\3\4", "zip archive"), (whole[:-1], "no end record"), (whole + b"x", "no end record"),
                (whole[:len(whole) // 2], "no end record"), (archive(entries, zipfile.ZIP_DEFLATED), "compressed"),
                (archive(entries + entries[1:]), "two entries"), (archive(entries + [("b/data.pkl", b"")]), "expected one"),
                (archive([("a/data/0", b"")]), "without data.pkl"), (archive(entries + [("a/byteorder", b"big")]), "byte order"),
                (whole[:end + 10] + b"\xf0\x7f" + whole[end + 12:], "set of disks"),
                (whole[:end + 8] + b"\xf0\x7f\xf0\x7f" + whole[end + 12:], "too short for its entries"),
                (whole[:end + 16] + b"\1\0\0\0" + whole[end + 20:], "does not end where"),
                (whole[:central + 42] + b"\xff\xff\xff\x7f" + whole[central + 46:], "outside of the archive"),
                (whole[:central + 20] + b"\xf0\xff\xff\x7f" * 2 + whole[central + 28:], "larger than the archive"),
                (whole[:central + 8] + b"\1\0" + whole[central + 10:], "encrypted")):
            with self.subTest(expected=expected):
                self.refused(data, expected)
        second = whole.index(b"PK\1\2", central + 4)
        self.refused(whole[:second + 42] + bytes(4) + whole[second + 46:], "disagree")

    def test_old_formats(self):
        bare = pickle.dumps(0x1950a86a20f9469cfc6c, protocol=2) + b"\x80\x02M\xe9\x03."
        self.refused(bare, "before torch 1.6")
        self.refused(bytes(257) + b"ustar" + bytes(1000), "tar format")

    def test_nothing_runs(self):
        trap = self.folder / "trap"
        self.refused(torch_bytes({"wte.weight": Tensor("F32", [2], bytes(8)), "x": Touch(trap)}), "wte.weight")
        self.assertFalse(trap.exists())

    def test_index(self):
        for name in ("../x.bin", "/etc/passwd.bin", "a/b.bin", "x.safetensors", ".bin", "", "missing.bin"):
            index = {"weight_map": {"a": name}}
            self.refused(json.dumps(index).encode(), "weight_map|cannot be opened", name="pytorch_model.bin.index.json")
        self.refused(b'{"weight_map": {"a": "x.bin", "a": "y.bin"}}', "duplicate", name="pytorch_model.bin.index.json")

    def test_deepspeed_json(self):
        whole = {"type": "ds_model", "checkpoints": ["x.bin"], "version": 1.0}
        for change, expected in (
                ({"checkpoints": ["../x.bin"]}, "not accepted"), ({"checkpoints": ["/etc/passwd"]}, "not accepted"),
                ({"checkpoints": ["a/../../x.bin"]}, "not accepted"), ({"checkpoints": [""]}, "not accepted"),
                ({"base_dir": "../.."}, "not accepted"), ({"checkpoints": ["missing.bin"]}, "cannot be opened"),
                ({"checkpoints": [7]}, "found an integer"), ({"checkpoints": []}, "found none"), ({"checkpoints": 1}, "checkpoints"),
                ({"checkpoints": {"tp": []}}, "checkpoints"), ({"type": "other"}, "found \"other\""), ({"type": 3}, "type"),
                ({"parallelization": "sp"}, "parallelization"), ({"checkpoints": ["ds_inference_checkpoint.json"]}, "not a torch file")):
            with self.subTest(change=change):
                self.refused(json.dumps(dict(whole, **change)).encode(), expected, name="ds_inference_checkpoint.json")
        self.refused(b'{"type": "ds_model", "type": "bloom"}', "duplicate", name="ds_inference_checkpoint.json")

    def test_flipped_bits(self):
        """Whatever single bit of the pickle or the directory is wrong: refused, or read."""
        whole = bytearray(torch_bytes({n: Tensor(t[0], t[1], t[2]) for n, t in list(read_instance(GPT2).items())[:2]}))
        size, central = whole.index(b"archive/byteorder"), whole.index(b"PK\1\2")
        for bit in [*range(0, 8 * size, 97), *range(8 * central, 8 * len(whole), 61)]:
            whole[bit // 8] ^= 1 << bit % 8
            with self.subTest(bit=bit):
                self.refused(bytes(whole), ".")
            whole[bit // 8] ^= 1 << bit % 8


if __name__ == "__main__":
    TESSERA = sys.argv.pop(1)
    unittest.main()
