#!/usr/bin/env python3
"""check_text.py: from text to text: prompts, streaming, stop texts, plain output and JSON, tokenize, score.

Where the exact words matter, a reciting model says them (models.py); elsewhere the Shakespeare model speaks.
"""
import json
import math
import socket
import unittest

import models
import support
from support import SHAKESPEARE, Case, TempFolder, main, needs_ranks, run, start

# Characters of one to four bytes, a combining mark, a joined emoji.
SAID = "né € 😀 abcabd Ж͏e\u0301 \U0001F469\u200D\U0001F4BB 終わり."
SCRIPTS = ["plain ASCII, 1234!  two  spaces\n\ttabs", "Ünïcödé – “quotes” …", "Ελληνικά Русский עברית العربية",
           "हिन्दी 中文 日本語 한국어 ไทย", "😀👩‍💻🇫🇷 e\u0301 \u200b\ufeff|", " leading and trailing ", "\x01\x7f\u0085", "a" * 300]


def ids_of(text, tokenizer=models.byte_level_tokenizer):
    """In the byte-level tokenizer the bytes themselves."""
    if tokenizer is models.byte_fallback_tokenizer:
        return models.byte_fallback_ids(text)
    return list(text if isinstance(text, bytes) else text.encode())


class Reciting(Case):
    """What the two kinds of tokenizer make of a text known in advance."""

    def setUp(self):
        self.folder = TempFolder(type(self)).path
        self.count = 0

    def reciter(self, said, tokenizer=models.byte_level_tokenizer):
        self.count += 1
        return models.make_reciter(self.folder / str(self.count), ids_of(said, tokenizer), tokenizer())

    def recite(self, model, *options):
        """(JSON object, plain output) of the same run; they must agree."""
        args = ("generate", "--model", model, "--prompt", "?", "--max-new-tokens", 120, *options, "--quiet")
        (line,) = self.good(*args, "--json").lines()
        plain = self.good(*args).out.decode()
        self.assertEqual(plain, line["text"] + "\n")
        return line, plain

    def test_whole_text(self):
        for tokenizer in (models.byte_level_tokenizer, models.byte_fallback_tokenizer):
            line, _ = self.recite(self.reciter(SAID, tokenizer))
            self.assertEqual(line["text"], SAID)
            self.assertEqual(line["finish_reason"], "eos")
            self.assertEqual(line["ids"], ids_of(SAID, tokenizer) + [256])

    def test_length_cuts_inside_a_character(self):
        model = self.reciter("ab\u20ac")
        for count, text in [(2, "ab"), (3, "ab\ufffd"), (4, "ab\ufffd"), (5, "ab\u20ac")]:
            line, _ = self.recite(model, "--max-new-tokens", count)
            self.assertEqual((line["text"], line["finish_reason"]), (text, "length"))

    def test_broken_bytes(self):
        line, _ = self.recite(self.reciter(b"a\xffb\xe2\x82c\xc3"))
        self.assertEqual(line["text"], b"a\xffb\xe2\x82c\xc3".decode(errors="replace"))

    def test_stop_texts(self):
        model = self.reciter(SAID)
        for stops, text in [(["abd"], "né € 😀 abc"), (["abcabd"], "né € 😀 "), (["n"], ""), (["😀"], "né € "),
                            (["zzz"], SAID), (["abd", "ca"], "né € 😀 ab"), (["abcabd", "ca"], "né € 😀 ab"),
                            (["終わり.x", "り"], SAID[:-2]), (["."], SAID[:-1]), (["é € 😀 abca"], "n")]:
            with self.subTest(stops=stops):
                line, _ = self.recite(model, *(word for stop in stops for word in ("--stop", stop)))
                self.assertEqual(line["text"], text)
                self.assertEqual(line["finish_reason"], "eos" if text == SAID else "stop")
                self.assertEqual(line["ids"], (ids_of(SAID) + [256])[:len(line["ids"])])
        line, _ = self.recite(model, "--stop", "abd")
        self.assertEqual(line["ids"], ids_of("né € 😀 abcabd"), "generation goes on after a stop text")

    def test_special_tokens_are_no_text(self):
        model = self.reciter("before after")
        said = ids_of("before") + [256] + ids_of("after")
        middle = models.make_reciter(self.folder / "middle", said, models.byte_level_tokenizer())
        self.assertEqual(self.recite(model)[0]["text"], "before after")
        line, _ = self.recite(middle, "--ignore-eos", "--max-new-tokens", len(said))
        self.assertEqual((line["text"], line["ids"]), ("beforeafter", said))

    def test_stream_of_whole_characters(self):
        """Every write is text by itself, and each character is written as soon as it is whole. With byte fallback
        it is the run of bytes that must be whole: all of them are broken if one is."""
        for tokenizer in (models.byte_level_tokenizer, models.byte_fallback_tokenizer):
            model = self.reciter(SAID * 3, tokenizer)
            pieces = self.pieces("generate", "--model", model, "--prompt", "?", "--max-new-tokens", 200, "--quiet")
            for piece in pieces:
                piece.decode()
            self.assertEqual(b"".join(pieces).decode(), SAID * 3 + "\n")
            whole = SAID * 3 if tokenizer is models.byte_level_tokenizer else [c for c in SAID * 3 if c.isascii()]
            self.assertEqual(len(pieces), len(whole) + 1)

    def test_stream_holds_back_what_may_be_a_stop_text(self):
        model = self.reciter("one STOX two STOP three")
        pieces = self.pieces("generate", "--model", model, "--prompt", "?", "--stop", "STOP", "--quiet",
                             "--max-new-tokens", 40)
        self.assertEqual(b"".join(pieces), b"one STOX two \n")

    def pieces(self, *args):
        """What the program writes, write by write: a socket of packets keeps them apart where a pipe would not."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, start(*args, stdout=theirs) as process:
            theirs.close()
            pieces = list(iter(lambda: ours.recv(1 << 16), b""))
            self.assertEqual(process.wait(), 0, process.stderr.read())
        return pieces


class Prompts(Case):
    @classmethod
    def setUpClass(cls):
        cls.folder = TempFolder(cls).path

    def say(self, *args, **how):
        return self.good("generate", "--model", SHAKESPEARE, "--max-new-tokens", 24, "--quiet", *args, **how).out

    def test_from_file_and_stdin(self):
        text = "First Citizen:\nBefore we proceed"
        (self.folder / "prompt").write_text(text)
        expected = self.say("--prompt", text)
        self.assertGreater(len(expected), 20)
        self.assertEqual(self.say("--prompt-file", self.folder / "prompt"), expected)
        self.assertEqual(self.say("--prompt-file", "-", stdin=text.encode()), expected)
        self.assertEqual(self.say("--prompt-file=-", stdin=text.encode()), expected)
        self.refused(run("generate", "--model", SHAKESPEARE, "--prompt-file", "-", "--quiet"), 2, "prompt is empty")

    def test_several_in_order(self):
        prompts = ["KING RICHARD:", "To be", "a", "ROMEO:\nO, "]
        options = [word for prompt in prompts for word in ("--prompt", prompt)]
        lines = self.generate(SHAKESPEARE, *options, "--max-new-tokens", 24)
        alone = [self.generate(SHAKESPEARE, "--prompt", prompt, "--max-new-tokens", 24)[0] for prompt in prompts]
        self.assertEqual([line["text"] for line in lines], [line["text"] for line in alone])
        self.assertEqual(self.say(*options).decode(), "".join(line["text"] + "\n" for line in lines))
        one_slot = self.say(*options, "--max-sequences", 1)
        self.assertEqual(one_slot, self.say(*options))

    def test_ids_and_text_mix_in_the_order_given(self):
        (self.folder / "c").write_text("c")
        lines = self.generate(SHAKESPEARE, "--prompt", "a", "--ids", "7,8", "--prompt-file", self.folder / "c",
                              "--prompt", "d", "--max-new-tokens", 1)
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[1]["prompt_ids"], [7, 8])
        texts = [self.decode(lines[i]["prompt_ids"]) for i in (0, 2, 3)]
        self.assertEqual(texts, ["a", "c", "d"])

    def decode(self, ids):
        text = ",".join(map(str, ids))
        (line,) = self.good("tokenize", "--model", SHAKESPEARE, "--ids", text, "--json").lines()
        return line["text"]

    def test_stop_text_of_a_real_model(self):
        (line,) = self.generate(SHAKESPEARE, "--prompt", "KING RICHARD III:\n", "--max-new-tokens", 60)
        for stop in (line["text"][30:36], line["text"][11:12], "\n"):
            (cut,) = self.generate(SHAKESPEARE, "--prompt", "KING RICHARD III:\n", "--max-new-tokens", 60, "--stop",
                                   stop)
            self.assertEqual(cut["text"], line["text"][:line["text"].index(stop)])
            self.assertEqual(cut["finish_reason"], "stop")
            self.assertEqual(cut["ids"], line["ids"][:len(cut["ids"])])

    def test_any_bytes_as_prompt(self):
        for prompt in (b"\xff\xfe\xfd", b"caf\xc3", "😀".encode()[:3] + b"!", bytes(range(1, 256))):
            (self.folder / "bytes").write_bytes(prompt)
            (line,) = self.generate(SHAKESPEARE, "--prompt-file", self.folder / "bytes", "--max-new-tokens", 3)
            self.assertEqual(len(line["ids"]), 3)

    def test_wild_sampling_streams_valid_text(self):
        (line,) = self.generate(SHAKESPEARE, "--prompt", "é€😀", "--max-new-tokens", 200, "--temperature", 100, "--seed",
                                5, "--ignore-eos")
        plain = self.say("--prompt", "é€😀", "--max-new-tokens", 200, "--temperature", 100, "--seed", 5, "--ignore-eos")
        self.assertEqual(plain.decode(), line["text"] + "\n")


@needs_ranks
class Ranks(Case):
    """Rank 0 alone reads stdin and prints, and the others change nothing."""

    def test_every_command(self):
        text = b"ROMEO:\nBut, soft!"
        for args in (("generate", "--prompt-file", "-", "--prompt", "\u20ac?", "--max-new-tokens", 20, "--dtype", "float32"),
                     ("tokenize", "--text", "Hear me."), ("plan", "--tp", 2), ("tokenize", "--help")):
            args = (args[0], "--model", SHAKESPEARE, "--quiet", *args[1:])
            one, two = (self.good(*args, stdin=text, ranks=ranks).out for ranks in (0, 2))
            self.assertGreater(len(one), 10)
            self.assertEqual(two, one)
        self.assertEqual(self.good("--version", ranks=2).out, self.good("--version").out)


class Tokenize(Case):
    def test_round_trip(self):
        options = [word for text in SCRIPTS for word in ("--text", text)]
        lines = self.good("tokenize", "--model", SHAKESPEARE, *options, "--json").lines()
        self.assertEqual([line["text"] for line in lines], SCRIPTS)
        options = support.ids_option([line["ids"] for line in lines])
        back = self.good("tokenize", "--model", SHAKESPEARE, *options, "--json").lines()
        self.assertEqual([line["text"] for line in back], SCRIPTS)
        self.assertEqual([line["ids"] for line in back], [line["ids"] for line in lines])

    def test_plain(self):
        (line,) = self.good("tokenize", "--model", SHAKESPEARE, "--text", "Hear me.", "--json").lines()
        rows = self.good("tokenize", "--model", SHAKESPEARE, "--text", "Hear me.").out.decode().splitlines()
        self.assertEqual([int(row.split(None, 1)[0]) for row in rows], line["ids"])
        self.assertEqual("".join(json.loads(row.split(None, 1)[1]) for row in rows), "Hear me.")
        text = self.good("tokenize", "--model", SHAKESPEARE, "--ids", ",".join(map(str, line["ids"]))).out
        self.assertEqual(text, b"Hear me.\n")


class Score(Case):
    TEXT = "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n"

    def score(self, *args):
        return self.good("score", "--model", SHAKESPEARE, *args, "--json", "--quiet").lines()

    def test_perplexity_is_that_of_the_logprobs(self):
        (line,) = self.score("--text", self.TEXT)
        self.assertIsNone(line["logprobs"][0])
        known = line["logprobs"][1:]
        self.assertTrue(all(value < 0 for value in known))
        self.assertAlmostEqual(line["perplexity"] / math.exp(-sum(known) / len(known)), 1, places=5)
        self.assertLess(line["perplexity"], 100)

    def test_nonsense_is_less_likely(self):
        told = self.score("--text", self.TEXT, "--text", "".join(sorted(self.TEXT)))
        self.assertGreater(told[1]["perplexity"], 10 * told[0]["perplexity"])

    def test_text_and_its_ids_score_alike(self):
        (line,) = self.score("--text", self.TEXT)
        self.assertEqual(self.score("--ids", ",".join(map(str, line["ids"]))), [line])

    def test_best_next_token_is_what_greedy_takes(self):
        (line,) = self.score("--text", self.TEXT, "--top", 1)
        (told,) = self.generate(SHAKESPEARE, "--prompt", self.TEXT, "--max-new-tokens", 1)
        self.assertEqual(told["ids"], [line["top"][0][0]])
        self.assertAlmostEqual(told["logprobs"][0], line["top"][0][1], delta=0.02)  # other kernels for one row

    def test_plain(self):
        (line,) = self.score("--ids", "5,6,7", "--top", 2)
        rows = self.good("score", "--model", SHAKESPEARE, "--ids", "5,6,7", "--top", 2, "--quiet").out.decode()
        rows = [row.split() for row in rows.splitlines()]
        self.assertEqual(rows[0], ["5", "-"])
        self.assertEqual([int(row[0]) for row in rows[:3]], [5, 6, 7])
        self.assertEqual([row[2] for row in rows[4:]], [str(token) for token, _ in line["top"]])
        self.assertAlmostEqual(float(rows[3][1]) / line["perplexity"], 1, places=4)


if __name__ == "__main__":
    main()
