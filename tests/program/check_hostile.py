#!/usr/bin/env python3
"""check_hostile.py: model files that are truncated, bit-flipped, absurd or contradictory, through the whole program.

Each case must end in exit code 3 with one line that names the file at fault, or in 0 where the damage does no harm
(a flipped bit of a weight); never by a signal, never late, never with much memory. Damage is drawn with fixed seeds.
Where a number of config.json is possible in itself, it may contradict the weights instead, or the request.
"""
import json
import os
import pathlib
import random
import re
import shutil
import struct
import unittest

import models
from support import ORACLE, SHAKESPEARE, Case, TempFolder, main, run

SMALL = ORACLE / "llama_eos"  # one layer, one file, generation_config.json
SHARDED = ORACLE / "llama_base"  # three files and their index
SECONDS, MEMORY, ADDRESSES = 5, 1 << 30, 4 << 30
FINE, REQUEST, FILE = 0, 2, 3
MISSING = r'|tensor "[^"]+" is missing'  # what no file has belongs to no file: the folder is named, and the tensor


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


class Hostile(Case):
    def setUp(self):
        self.seen = {}
        self.folder = TempFolder(type(self))

    def judge(self, args, names, codes=(FINE, FILE), must=None):
        """Runs one case. names: a regular expression for what an error of the file must name."""
        result = run(*args, timeout=SECONDS, addresses=ADDRESSES)
        self.assertIn(result.code, [must] if must is not None else codes, f"{args}\n{result}")
        self.assertLess(result.peak, MEMORY)
        if result.code == FINE:
            self.assertEqual(result.err, b"", str(result))
        else:
            self.refused(result, result.code, names + MISSING if result.code == FILE else "")
        self.seen[result.code] = self.seen.get(result.code, 0) + 1

    def generate(self, model):
        return ("generate", "--model", model, "--ids", "3,4,5", "--max-new-tokens", 2, "--threads", 1, "--cache-mb", 16,
                "--json", "--quiet")

    def spoil(self, model, name, cases, names, args=None, **how):
        """Writes each of `cases` ((what, bytes), ...) in the place of a file and runs the program on it."""
        for what, data in cases:
            (model / name).write_bytes(data)
            with self.subTest(file=name, case=what):
                self.judge(args or self.generate(model), names, **how)

    def truncations(self, data, lengths):
        return [(f"first {n} of {len(data)} bytes", data[:n]) for n in sorted(set(lengths)) if n < len(data)]

    def flips(self, data, bits):
        return [(f"bit {bit} flipped", flipped(data, bit)) for bit in bits]


class Weights(Hostile):
    NAMES = r"model\.safetensors|config\.json"

    def setUp(self):
        super().setUp()
        self.model = self.folder.copy(SMALL, "small")
        self.data = (SMALL / "model.safetensors").read_bytes()
        self.header = 8 + struct.unpack("<Q", self.data[:8])[0]

    def test_truncated(self):
        draw = random.Random(1)
        lengths = [*range(17), self.header - 1, self.header, self.header + 1, len(self.data) - 1]
        lengths += [draw.randrange(self.header) for _ in range(40)] + [draw.randrange(len(self.data)) for _ in range(20)]
        self.spoil(self.model, "model.safetensors", self.truncations(self.data, lengths), r"model\.safetensors",
                   must=FILE)

    def test_flipped_header(self):
        draw = random.Random(2)
        bits = [*range(64)] + [draw.randrange(64, 8 * self.header) for _ in range(160)]
        self.spoil(self.model, "model.safetensors", self.flips(self.data, bits), r"model\.safetensors")
        self.assertGreater(self.seen.get(FILE, 0), 150)

    def test_flipped_weights(self):
        draw = random.Random(3)
        bits = [draw.randrange(8 * self.header, 8 * len(self.data)) for _ in range(25)]
        self.spoil(self.model, "model.safetensors", self.flips(self.data, bits), r"model\.safetensors", must=FINE)

    def test_not_a_number(self):
        """Weights of NaN and infinity give no tokens, and say so."""
        for value in (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f"):
            data = self.data[:self.header] + value * ((len(self.data) - self.header) // 4)
            (self.model / "model.safetensors").write_bytes(data)
            result = run(*self.generate(self.model))
            (line,) = result.lines()
            self.assertEqual((line["ids"], line["finish_reason"]), ([], "error"))
            self.assertEqual(result.code, FILE)
            self.assertRegex(result.err.decode(), r"^tessera: error: prompt 1: .* NaN or infinity\)\n$")
            score = run("score", "--model", self.model, "--ids", "3,4,5", "--quiet", "--json")
            self.refused(score, FILE, "NaN or infinity")

    def test_other_contents(self):
        swapped = self.data.replace(b"q_proj", b"o_proj", 1)
        grown = self.data + b"\0"
        zip_file = b"PK\x03\x04" + self.data[4:]
        huge = struct.pack("<Q", 10 ** 8) + self.data[8:]
        cases = [("empty", b""), ("zeros", bytes(4096)), ("text", b"hello\n" * 100), ("a name twice", swapped),
                 ("one byte more", grown), ("a zip file", zip_file), ("a long header", huge)]
        self.spoil(self.model, "model.safetensors", cases, r"model\.safetensors", must=FILE)

    def test_wrong_shapes(self):
        """Every tensor in turn is absent, transposed, one longer, one shorter, or of another type."""
        end = self.header
        header = json.loads(self.data[8:end])
        header.pop("__metadata__", None)
        tensors = [(name, t["dtype"], t["shape"], self.data[end + t["data_offsets"][0]:end + t["data_offsets"][1]])
                   for name, t in header.items()]
        changes = [lambda t: None,
                   lambda t: (t[0], t[1], t[2][::-1], t[3]) if len(t[2]) > 1 and t[2][0] != t[2][1] else None,
                   lambda t: (t[0], t[1], [t[2][0] + 1, *t[2][1:]], t[3] + bytes(len(t[3]) // t[2][0])),
                   lambda t: (t[0], t[1], [t[2][0] - 1, *t[2][1:]], t[3][len(t[3]) // t[2][0]:]),
                   lambda t: (t[0], t[1], [1, *t[2]], t[3]),
                   lambda t: (t[0], "I32", t[2], t[3])]
        models.BYTES_OF["I32"] = 4
        for i, tensor in enumerate(tensors):
            for number, change in enumerate(changes):
                new = change(tensor)
                rest = [t for k, t in enumerate(tensors) if k != i] + ([new] if new else [])
                models.write_safetensors(self.model / "model.safetensors", rest)
                with self.subTest(tensor=tensor[0], change=number):
                    self.judge(self.generate(self.model), re.escape(tensor[0]), must=FILE)


ABSURD = [-1, 0, 1, 2 ** 20, 2 ** 31, 2 ** 62, 2 ** 63 - 1, 2 ** 64, -2 ** 63, 0.5, -1e308, 1e308, "", "x", "%s%n", [], {},
          None, True, [[[[]]]], {"a": 1}]


class Config(Hostile):
    NAMES = r"config\.json|model\.safetensors"

    def setUp(self):
        super().setUp()
        self.model = self.folder.copy(SMALL, "small")
        self.config = json.loads((SMALL / "config.json").read_text())

    def with_key(self, key, value):
        """JSON text that json.dumps may not give, such as 2**64 and 1e999, is allowed for `value`."""
        marked = json.dumps(dict(self.config, **{key: "@"}))
        return marked.replace('"@"', value if isinstance(value, Raw) else json.dumps(value)).encode()

    def test_absurd_values(self):
        keys = [key for key in self.config if key not in ("architectures", "torch_dtype", "bos_token_id")]
        keys += ["head_dim", "rope_theta", "rope_scaling", "tie_word_embeddings", "attention_bias", "sliding_window"]
        for key in sorted(set(keys)):
            cases = [(f"{key}: {value!r}", self.with_key(key, value)) for value in ABSURD]
            cases += [(f"{key}: {text}", self.with_key(key, Raw(text))) for text in ("1e999", "NaN", "-0", "1" * 400)]
            self.spoil(self.model, "config.json", cases, self.NAMES, codes=(FINE, REQUEST, FILE))
        self.assertGreater(self.seen.get(FILE, 0), 200)

    def test_absurd_scaling(self):
        for kind in ("linear", "dynamic", "yarn", "longrope", "llama3", "nonsense"):
            for key in ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor",
                        "low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "mscale", "truncate"):
                cases = [(f"{kind} {key}: {value!r}", self.with_key("rope_scaling", {"rope_type": kind, key: value}))
                         for value in (-1, 0, 2 ** 62, 1e308, "x", [], [0.0], None)]
                self.spoil(self.model, "config.json", cases, self.NAMES, codes=(FINE, REQUEST, FILE))

    def test_truncated_and_flipped(self):
        data = (SMALL / "config.json").read_bytes()
        draw = random.Random(4)
        self.spoil(self.model, "config.json", self.truncations(data, range(0, len(data.rstrip()), 9)), r"config\.json",
                   must=FILE)
        bits = [draw.randrange(8 * len(data)) for _ in range(150)]
        self.spoil(self.model, "config.json", self.flips(data, bits), self.NAMES, codes=(FINE, REQUEST, FILE))

    def test_other_contents(self):
        plain = (SMALL / "config.json").read_bytes()
        cases = [("empty", b""), ("an array", b"[]"), ("a string", b'"llama"'), ("deep", b"[" * 100000),
                 ("a key twice", b'{"model_type":"llama",' + plain.lstrip()[1:]), ("trailing", plain + b"{}"),
                 ("UTF-16", plain.decode().encode("utf-16")), ("a zero byte", plain.replace(b"llama", b"lla\0a")),
                 ("17 MiB", b'{"a":"' + b"x" * (17 << 20) + b'"}'), ("broken UTF-8", plain.replace(b"llama", b"\xff"))]
        self.spoil(self.model, "config.json", cases, r"config\.json", must=FILE)

    def test_generation_config(self):
        data = (SMALL / "generation_config.json").read_bytes()
        draw = random.Random(5)
        name = "generation_config.json"
        self.spoil(self.model, name, self.truncations(data, range(0, len(data.rstrip()), 5)), r"generation_config\.json",
                   must=FILE)
        self.spoil(self.model, name, self.flips(data, [draw.randrange(8 * len(data)) for _ in range(60)]),
                   r"generation_config\.json")
        for value, code in [("x", FILE), ([1] * 10000, FILE), ([[]], FILE), (1.5, FILE), (-1, FINE), (10 ** 15, FINE)]:
            self.spoil(self.model, name, [(repr(value)[:40], json.dumps({"eos_token_id": value}).encode())],
                       r"generation_config\.json", must=code)


class Raw(str):
    """JSON text that is to be written as it is."""


class Index(Hostile):
    NAME = "model.safetensors.index.json"

    def setUp(self):
        super().setUp()
        self.model = self.folder.copy(SHARDED, "sharded")
        self.data = (SHARDED / self.NAME).read_bytes()
        self.index = json.loads(self.data)

    def changed(self, **entries):
        return json.dumps({"weight_map": dict(self.index["weight_map"], **entries)}).encode()

    def test_contradictions(self):
        some = next(iter(self.index["weight_map"]))
        files = sorted(set(self.index["weight_map"].values()))
        other = next(name for name in files if name != self.index["weight_map"][some])
        cases = [(f"{some} in {name!r}", self.changed(**{some: name}))
                 for name in (other, "absent.safetensors", "../x.safetensors", "/etc/passwd", "/dev/zero", "", ".", "..",
                              "config.json", "a\0.safetensors", "x" * 300 + ".safetensors", self.NAME, 5, None, [], {},
                              "../sharded/" + files[0], "./" + files[0], "%s%n.safetensors")]
        cases += [("a tensor of no file", self.changed(**{"no.such.tensor": files[0]})),
                  ("no map", b"{}"), ("an empty map", b'{"weight_map":{}}'), ("the map a list", b'{"weight_map":[]}'),
                  ("one file of three", json.dumps({"weight_map": {
                      k: v for k, v in self.index["weight_map"].items() if v == files[0]}}).encode())]
        self.spoil(self.model, self.NAME, cases, r"model\.safetensors\.index\.json|\.safetensors", must=FILE)

    def test_truncated_and_flipped(self):
        draw = random.Random(6)
        names = r"\.safetensors"
        lengths = [draw.randrange(len(self.data.rstrip())) for _ in range(40)]
        self.spoil(self.model, self.NAME, self.truncations(self.data, lengths), r"index\.json", must=FILE)
        bits = [draw.randrange(8 * len(self.data)) for _ in range(120)]
        self.spoil(self.model, self.NAME, self.flips(self.data, bits), names)
        self.assertGreater(self.seen.get(FILE, 0), 100)

    def test_a_shard_is_damaged_or_gone(self):
        for name in sorted(set(self.index["weight_map"].values())):
            whole = (self.model / name).read_bytes()
            self.spoil(self.model, name, self.truncations(whole, [0, 8, 100, len(whole) - 1]), re.escape(name), must=FILE)
            (self.model / name).unlink()
            self.judge(self.generate(self.model), re.escape(name), must=FILE)
            (self.model / name).write_bytes(whole)
        self.judge(self.generate(self.model), "", must=FINE)

    def test_a_tensor_in_two_files(self):
        names = sorted(set(self.index["weight_map"].values()))
        shutil.copy(self.model / names[0], self.model / names[1])
        self.judge(self.generate(self.model), r"\.safetensors", must=FILE)


class Tokenizer(Hostile):
    TEXT = "First Citizen: è vero! 42\n"

    def setUp(self):
        super().setUp()
        self.model = self.folder.path / "tokenizer"
        self.model.mkdir()

    def try_all(self, cases, **how):
        args = ("tokenize", "--model", self.model, "--text", self.TEXT, "--ids", "5,200,300", "--json")
        self.spoil(self.model, "tokenizer.json", cases, r"tokenizer\.json", args=args, **how)

    def test_truncated(self):
        draw = random.Random(7)
        data = (SHAKESPEARE / "tokenizer.json").read_bytes().rstrip()
        lengths = [*range(0, 2000, 100)] + [draw.randrange(len(data)) for _ in range(40)] + [len(data) - 1]
        self.try_all(self.truncations(data, lengths), must=FILE)

    def test_flipped(self):
        draw = random.Random(8)
        data = (SHAKESPEARE / "tokenizer.json").read_bytes()
        head = data.index(b'"vocab"')
        bits = [draw.randrange(8 * head) for _ in range(120)] + [draw.randrange(8 * len(data)) for _ in range(80)]
        self.try_all(self.flips(data, bits), codes=(FINE, REQUEST, FILE))
        self.assertGreater(self.seen.get(FILE, 0), 40)

    def test_flipped_byte_fallback(self):
        draw = random.Random(9)
        data = json.dumps(models.byte_fallback_tokenizer()).encode()
        bits = [draw.randrange(8 * len(data)) for _ in range(120)]
        self.try_all(self.flips(data, bits), codes=(FINE, REQUEST, FILE))

    def test_absurd_values(self):
        whole = models.byte_level_tokenizer()
        for part in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"):
            values = [1, "x", [], {}, {"type": "Nonsense"}, {"type": 7}, [None], True, {"type": "Sequence"}]
            self.try_all([(f"{part}: {value!r}", json.dumps(dict(whole, **{part: value})).encode()) for value in values],
                         codes=(FINE, REQUEST, FILE))
        for key in whole["model"]:
            values = [-1, 2 ** 31, "x", [], {}, {"a": -1}, {"a": 2 ** 31}, {"a": 2 ** 62}, {"a": 1, "b": 1}, [["a"]],
                      ["a b c"], [["a", "b"]], None]
            self.try_all([(f"model {key}: {value!r}", json.dumps(
                dict(whole, model=dict(whole["model"], **{key: value}))).encode()) for value in values],
                         codes=(FINE, REQUEST, FILE))

    def test_patterns(self):
        """Patterns of a file run under limits: the worst kinds take neither time nor memory without end."""
        whole = models.byte_level_tokenizer()
        for pattern in ("(a+)+$", "(((((a*)*)*)*)*)*b", "(", "[", "(?{1})", "a{1000000}", "(?R)", "\\C", "(*COMMIT)", "",
                        "(?:" * 10000, "((a{0,1000}){0,1000}){0,1000}", "(a|aa)+$", "\\p{Nonsense}"):
            split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
            (self.model / "tokenizer.json").write_text(json.dumps(dict(whole, pre_tokenizer=split)))
            with self.subTest(pattern=pattern[:40]):
                args = ("tokenize", "--model", self.model, "--text", "a" * 5000 + "!", "--json")
                self.judge(args, r"tokenizer\.json", codes=(FINE, REQUEST, FILE))


class Places(Hostile):
    """What stands in the place of a file need not be one."""

    FILES = ("config.json", "model.safetensors", "generation_config.json", "tokenizer.json")

    def setUp(self):
        super().setUp()
        self.model = self.folder.copy(SMALL, "small")
        shutil.copy(SHAKESPEARE / "tokenizer.json", self.model)

    def replace(self, name, make):
        path = self.model / name
        whole = path.read_bytes()
        path.unlink()
        make(path)
        with self.subTest(file=name):
            self.judge(self.generate(self.model), re.escape(name), must=FILE)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        path.write_bytes(whole)

    def test_other_than_files(self):
        for name in self.FILES:
            self.replace(name, pathlib.Path.mkdir)
            self.replace(name, os.mkfifo)
            self.replace(name, lambda path: path.symlink_to("/dev/zero"))
            self.replace(name, lambda path: path.symlink_to(path.name))
        self.judge(self.generate(self.model), "", must=FINE)

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_unreadable(self):
        for name in self.FILES:
            self.replace(name, lambda path: (path.touch(), path.chmod(0)))

    def test_model_is_a_file(self):
        self.judge(self.generate(self.model / "config.json"), r"config\.json", must=FILE)
        self.judge(self.generate("/dev/null"), r"/dev/null", must=FILE)


if __name__ == "__main__":
    main()
