"""check_cache.py: --cache makes starts faster and changes nothing else, whatever lies in the folder."""
import json
import os
import random
import shutil
import signal
import time
import unittest

from support import ORACLE, SHAKESPEARE, Case, TempFolder, ids_option, main, needs_ranks, run, start

PROMPTS = ids_option([[1, 5, 17, 3, 9], [2, 40, 7]])


class Cache(Case):
    def setUp(self):
        self.folder = TempFolder(type(self))
        self.cache = self.folder.path / "cache"

    def ask(self, model, *args, ranks=0, quiet=False):
        result = self.good("generate", "--model", model, "--json", *PROMPTS, "--max-new-tokens", 6, *args, ranks=ranks)
        lines = result.err.decode().splitlines()
        doubts = [line for line in lines if ": cache: " in line]
        return result.lines(), any("from the cache" in line for line in lines), doubts

    def cached(self, model, *args, ranks=0):
        return self.ask(model, "--cache", self.cache, *args, ranks=ranks)

    def entries(self):
        return self.good("cache", "list", "--cache", self.cache, "--json").lines()

    @needs_ranks
    def test_same_words(self):
        for instance in ("gpt2_base", "llama_gqa", "gpt_neox_parallel"):
            for ranks in (1, 2, 3, 4):
                with self.subTest(instance=instance, ranks=ranks):
                    expected, _, _ = self.ask(ORACLE / instance, ranks=ranks)
                    for hit in (False, True):
                        self.assertEqual(self.cached(ORACLE / instance, ranks=ranks), (expected, hit, []))

    def test_what_shapes_it(self):
        """Another number format, other kernels, another config or checkpoint: another entry."""
        model = self.folder.copy(ORACLE / "llama_gqa", "model")
        self.assertFalse(self.cached(model)[1])
        for args in (["--dtype", "float16"], ["--kernels", "reference"]):
            self.assertFalse(self.cached(model, *args)[1])
            self.assertTrue(self.cached(model, *args)[1])
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(dict(config, rms_norm_eps=1e-3)))
        self.assertFalse(self.cached(model)[1])
        (model / "config.json").write_text(json.dumps(config))
        self.assertTrue(self.cached(model)[1])
        times = os.stat(model / "model.safetensors")
        data = bytearray((model / "model.safetensors").read_bytes())
        data[-4:] = b"\0\0\0\0"
        with open(model / "model.safetensors", "r+b") as file:  # in place, and the time of the change hidden
            file.write(data)
        os.utime(model / "model.safetensors", ns=(times.st_atime_ns, times.st_mtime_ns))
        expected, _, _ = self.ask(model)
        self.assertEqual(self.cached(model), (expected, False, []))
        self.assertEqual(len(self.entries()), 5)

    def spoiled(self, spoil, pattern, again):
        """After this the cache is doubted once, in one line, and the words are those of the checkpoint."""
        expected, _, _ = self.ask(ORACLE / "llama_gqa")
        self.cached(ORACLE / "llama_gqa")
        self.assertTrue(self.cached(ORACLE / "llama_gqa")[1])
        spoil()
        words, hit, doubts = self.cached(ORACLE / "llama_gqa")
        self.assertEqual((words, hit, len(doubts)), (expected, False, 1), doubts)
        self.assertRegex(doubts[0], pattern)
        words, hit, doubts = self.cached(ORACLE / "llama_gqa")
        self.assertEqual((words, hit), (expected, again), doubts)

    def file(self, ending):
        return next(path for path in self.cache.iterdir() if path.name.endswith(ending))

    def test_damage(self):
        draw = random.Random(11)

        def flip(ending, at=None):
            path = self.file(ending)
            data = bytearray(path.read_bytes())
            at = draw.randrange(len(data)) if at is None else at
            data[at] ^= 1 << draw.randrange(8)
            path.write_bytes(data)

        def truncate(ending):
            os.truncate(self.file(ending), draw.randrange(self.file(ending).stat().st_size))

        def link(ending):
            aside = self.folder.path / ("aside" + ending)
            shutil.move(self.file(ending), aside)
            (self.cache / (self.key + ending)).symlink_to(aside)

        self.cached(ORACLE / "llama_gqa")
        self.key = self.file(".h5").name[:32]
        for name, spoil in (("bit", lambda: flip(".h5")), ("head", lambda: flip(".h5", 5)),
                            ("short", lambda: truncate(".h5")), ("short sidecar", lambda: truncate(".json")),
                            ("gone", lambda: self.file(".h5").unlink()), ("link", lambda: link(".h5")),
                            ("linked sidecar", lambda: link(".json")),
                            ("writable", lambda: self.file(".h5").chmod(0o666)),
                            ("no HDF5", lambda: self.file(".h5").write_bytes(b"x" * self.file(".h5").stat().st_size))):
            with self.subTest(name):
                self.spoiled(spoil, self.key, True)

    def test_places(self):
        other = self.folder.path / "other"
        other.mkdir(mode=0o700)
        file = self.folder.path / "file"
        file.write_text("")
        link = self.folder.path / "link"
        link.symlink_to(other)
        for where, pattern in ((file, "not usable"), (link, "a link"), ("/no/such/folder", "cannot be made")):
            expected, _, _ = self.ask(ORACLE / "llama_gqa")
            words, hit, doubts = self.ask(ORACLE / "llama_gqa", "--cache", where)
            self.assertEqual((words, hit, len(doubts)), (expected, False, 1))
            self.assertRegex(doubts[0], pattern)
        self.spoiled(lambda: self.cache.chmod(0o777), "open to others", False)

    @needs_ranks
    def test_one_rank_doubts(self):
        self.cached(SHAKESPEARE, ranks=3)
        self.assertTrue(self.cached(SHAKESPEARE, ranks=3)[1])
        name = next(e["name"] for e in self.entries() if "rank 2 of 3" in e["origin"])
        path = self.cache / (name + ".h5")
        data = bytearray(path.read_bytes())
        data[-9] ^= 4
        path.write_bytes(data)
        _, _, doubts = self.cached(SHAKESPEARE, ranks=3)
        self.assertEqual(len(doubts), 1)
        self.assertRegex(doubts[0], r"rank 2: .*damaged.*1 of 3 ranks")
        self.assertEqual(self.cached(SHAKESPEARE, ranks=3)[2], [])

    def test_killed_at_any_moment(self):
        expected, _, _ = self.ask(SHAKESPEARE)
        self.cached(SHAKESPEARE)
        draw = random.Random(5)
        for i in range(8):
            shutil.rmtree(self.cache)
            process = start("generate", "--model", SHAKESPEARE, "--ids", "1", "--max-new-tokens", "1", "--cache", self.cache)
            deadline = time.monotonic() + 20
            while not self.cache.exists() and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(draw.random() * 0.06)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            words, _, doubts = self.cached(SHAKESPEARE)
            self.assertEqual((words, doubts), (expected, []))

    def test_list_and_prune(self):
        model = self.folder.copy(ORACLE / "gpt2_base", "model")
        self.cached(ORACLE / "llama_gqa")
        self.cached(model)
        self.assertEqual([e["state"] for e in self.entries()], ["good", "good"])
        os.utime(model / "model.safetensors")
        self.assertEqual(sorted(e["state"] for e in self.entries()), ["good", "stale"])
        (self.cache / ("0" * 32 + ".h5.new")).write_bytes(b"left by a process that died")
        (self.cache / "notes.txt").write_text("not ours")
        self.assertEqual(sorted(e["state"] for e in self.entries()), ["broken", "good", "stale"])
        told = self.good("cache", "prune", "--cache", self.cache, "--json").lines()[0]
        self.assertEqual(told["removed"], 2)
        self.assertEqual([e["state"] for e in self.entries()], ["good"])
        self.assertTrue(self.cached(ORACLE / "llama_gqa")[1])
        self.assertEqual(self.good("cache", "prune", "--cache", self.cache, "--keep-mb", 0, "--json").lines()[0]["removed"], 1)
        self.assertEqual(os.listdir(self.cache), ["notes.txt"])
        self.assertIn(b"0 entries", self.good("cache", "list", "--cache", self.cache).out)
        self.refused(run("cache", "list", "--cache", self.folder.path / "none"), 3, "none")
        self.refused(run("cache", "wipe", "--cache", self.cache), 2, "list or prune")
        self.refused(run("cache", "list"), 2, "--cache")


if __name__ == "__main__":
    main()
