#!/usr/bin/env python3
"""check_classify.py: what `tessera classify` prints and refuses; its numbers are check_heads.py's matter.

The model knows its position and nothing else: label B at odd positions, A at even ones, C never. The same behind
/invocations: what is answered to texts, and how labelled tokens are put together.
"""
import json
import math

import models
from server import Server
from support import ORACLE, Case, TempFolder, main, run

LABELS = {"0": "A", "1": "B", "2": "C \"rare\""}


# What NAMED says of the bytes of "Ann of Bonn".
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
NAMED = [1, 2, 0, 0, 0, 0, 0, 3, 4, 2, 4]


def make(folder, kind, labels=LABELS, rows=None):
    """A classifier over the layers of the reciter, whose last row is its position."""
    models.make_reciter(folder, [65], models.byte_level_tokenizer())
    config = json.loads((folder / "config.json").read_text())
    width = config["n_embd"]
    config.update(architectures=["GPT2" + kind], id2label=labels, pad_token_id=None)
    (folder / "config.json").write_text(json.dumps(config))
    rows = rows(width) if rows else [[1.0 if p % 2 == 0 else 0.0 for p in range(width)], [0.5 * (p % 2) for p in range(width)], [-1.0 if p < 20 else 0.0 for p in range(width)]]
    weight = models.floats([value for row in rows for value in row])
    name = "score" if kind == "ForSequenceClassification" else "classifier"
    tensors = [(f"{name}.weight", "F32", (len(rows), width), weight)]
    if name == "classifier":
        tensors.append((f"{name}.bias", "F32", (len(rows),), models.floats([0.0, 0.0, 0.25, 0.0, 0.0][:len(rows)])))
    models.write_safetensors(folder / "model-00002-of-00002.safetensors", tensors)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {tensor: "model-00001-of-00002.safetensors" for tensor in models_tensors(folder)}
    index.update({tensor: "model-00002-of-00002.safetensors" for tensor, *_ in tensors})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def models_tensors(folder):
    data = (folder / "model-00001-of-00002.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    return [name for name in json.loads(data[8:8 + size]) if name != "__metadata__"]


class Classify(Case):
    @classmethod
    def setUpClass(cls):
        folder = TempFolder(cls).path
        cls.text = make(folder / "text", "ForSequenceClassification")
        cls.token = make(folder / "token", "ForTokenClassification")

    def test_texts(self):
        told = self.good("classify", "--model", self.text, "--text", "four", "--text", "three", "--quiet")
        blocks = [[line.split(None, 1) for line in block.splitlines()] for block in told.out.decode().split("\n\n")]
        self.assertEqual([[label for _, label in block] for block in blocks],
                         [["B", "A", 'C "rare"'], ["A", "B", 'C "rare"']])
        for block in blocks:
            scores = [float(score) for score, _ in block]
            self.assertEqual(scores, sorted(scores, reverse=True))
            self.assertAlmostEqual(sum(scores), 1, places=5)
        told = self.good("classify", "--model", self.text, "--text", "four", "--top", 1, "--quiet")
        self.assertEqual([line.split()[1] for line in told.out.decode().splitlines()], ["B"])

    def test_texts_as_json(self):
        told = self.good("classify", "--model", self.text, "--text", "four", "--ids", "1,2,3", "--json").lines()
        self.assertEqual([list(one) for one in told], [["ids", "labels", "label", "score", "scores", "logits"]] * 2)
        self.assertEqual([one["ids"] for one in told], [[102, 111, 117, 114], [1, 2, 3]])
        self.assertEqual([one["label"] for one in told], ["B", "A"])
        for one in told:
            self.assertEqual(one["labels"], list(LABELS.values()))
            self.assertEqual(one["scores"][one["labels"].index(one["label"])], one["score"])

    def test_tokens(self):
        told = self.good("classify", "--model", self.token, "--text", "f ur", "--quiet").out.decode().splitlines()
        words = [line.split() for line in told]
        self.assertEqual([word[0] for word in words], ["102", "32", "117", "114"])
        self.assertEqual([word[2] for word in words], ["A", "B", "A", "B"])
        self.assertEqual([word[3] for word in words], ["f", "\u0120", "u", "r"])
        (told,) = self.good("classify", "--model", self.token, "--ids", "7,8", "--json").lines()
        self.assertEqual(list(told), ["ids", "labels", "tokens"])
        self.assertEqual([one["label"] for one in told["tokens"]], ["A", "B"])
        self.assertEqual([list(one) for one in told["tokens"]], [["label", "score", "scores", "logits"]] * 2)

    def test_refused(self):
        llama = ORACLE / "llama_gqa"
        for args, pattern in (
                (("generate", "--model", self.text, "--ids", "1"), r"text-classification.*tessera classify"),
                (("score", "--model", self.token, "--ids", "1"), r"token-classification.*tessera classify"),
                (("classify", "--model", llama, "--ids", "1"), r"holds a language model, which has no labels"),
                (("classify", "--model", self.text), r"nothing to work on: give --text or --ids"),
                (("classify", "--model", self.text, "--ids", "999"), r"prompt token 0 is 999"),
                (("classify", "--model", self.text, "--ids", "1", "--ids", "1,999"), r"text 2: prompt token 1 is 999"),
                (("classify", "--model", self.text, "--task", "guess", "--ids", "1"), r'found "guess"')):
            with self.subTest(args=args):
                self.refused(run(*args, "--quiet"), 2, pattern)
        self.refused(run("classify", "--model", llama, "--task", "text-classification", "--ids", "1", "--quiet"), 3,
                     r'tensor "score.weight" is missing')

    def test_weights_without_numbers(self):
        """A label whose weight is NaN gives no answer, and says so."""
        folder = TempFolder(type(self)).copy(self.text, "nan")
        path = folder / "model-00002-of-00002.safetensors"
        data = bytearray(path.read_bytes())
        data[-4:] = models.floats([float("nan")])
        path.write_bytes(data)
        self.refused(run("classify", "--model", folder, "--ids", "5", "--quiet"), 3, r"no numbers for text 1")
        server = Server(folder)
        status, told = server.post("/invocations", {"inputs": "four"})
        self.assertEqual((status, told["code"], told["message"]), (424, 424, "prediction failure"))
        self.assertRegex(told["error"], "no numbers")
        self.assertEqual(server.end(), 0)

    def test_language_model_of_the_same_layers(self):
        """--task takes another head than the architecture says, where the file has it."""
        told = self.generate(self.text, "--task", "text-generation", "--ids", "63", "--max-new-tokens", 2)
        self.assertEqual(told[0]["ids"], [65, 256])


class Served(Case):
    kind = "ForSequenceClassification"
    how = {}

    @classmethod
    def setUpClass(cls):
        folder = make(TempFolder(cls).path / "model", cls.kind, **cls.how)
        cls.server = Server(folder)
        cls.addClassCleanup(cls.server.end)
        cls.model = folder

    def ask(self, inputs, **parameters):
        status, told = self.server.post("/invocations", {"inputs": inputs, "parameters": parameters})
        self.assertEqual(status, 200, told)
        return told

    def near(self, told, expected):
        """Equal, but for the last digits of scores."""
        self.assertEqual(type(told), type(expected))
        if isinstance(told, list):
            self.assertEqual(len(told), len(expected), (told, expected))
            for a, b in zip(told, expected):
                self.near(a, b)
        else:
            self.assertEqual({**told, "score": 0}, {**expected, "score": 0})
            self.assertAlmostEqual(told["score"], expected["score"], places=6)


class ServedTexts(Served):
    def expected(self, text, of="scores"):
        """All labels, best first, as the command gives them."""
        (told,) = self.good("classify", "--model", self.model, "--text", text, "--json").lines()
        return sorted(({"label": label, "score": score} for label, score in zip(told["labels"], told[of])),
                      key=lambda one: -one["score"])

    def test_shapes(self):
        four, three = self.expected("four"), self.expected("three")
        self.assertEqual((four[0]["label"], three[0]["label"]), ("B", "A"))
        self.near(self.ask("four"), four[:1])
        self.near(self.ask({"text": "four"}), four[:1])
        self.near(self.ask(["four", {"text": "three"}]), four[:1] + three[:1])
        self.near(self.ask("four", top_k=2), [four[:2]])
        self.near(self.ask(["four", "three"], top_k=1), [four[:1], three[:1]])
        self.near(self.ask("four", top_k=None), [four])
        status, headers, data = self.server.ask("POST", "/invocations", b"four", {"Content-Type": "text/plain"})
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        self.near(json.loads(data), four[:1])
        status, _, data = self.server.ask("POST", "/invocations", b"id,inputs\n1,four\n2,three\n", {"Content-Type": "text/csv"})
        self.near(json.loads(data), four[:1] + three[:1])

    def test_functions(self):
        logits = self.expected("four", "logits")
        self.near(self.ask("four", function_to_apply="none", top_k=3), [logits])
        self.near(self.ask("four", function_to_apply="softmax"), self.expected("four")[:1])
        sigmoid = [{**one, "score": 1 / (1 + math.exp(-one["score"]))} for one in logits]
        self.near(self.ask("four", function_to_apply="sigmoid", top_k=3), [sigmoid])

    def test_refused(self):
        for path, body in (("/v1/completions", {"prompt": "x"}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})):
            status, told = self.server.post(path, body)
            self.assertEqual(status, 400)
            self.assertRegex(told["error"]["message"], "text-classification.*labels.*/invocations")
        for body, pattern in (({}, "inputs is missing"), ({"inputs": []}, "empty list"), ({"inputs": [3]}, "found an integer"),
                              ({"inputs": {"text": "a", "text_pair": "b"}}, "text_pair is not supported"),
                              ({"inputs": {"texts": "a"}}, 'found "texts"'), ({"inputs": ""}, "empty"),
                              ({"inputs": "x", "stream": True}, "stream is not supported"),
                              ({"inputs": "x" * 300}, "the text has 300 tokens; the context has 161"),
                              ({"inputs": "x", "parameters": {"top_k": 0}}, r"top_k must be an integer in 1\.\.65536"),
                              ({"inputs": "x", "parameters": {"function_to_apply": "relu"}}, "softmax, sigmoid or none, found relu"),
                              ({"inputs": "x", "parameters": {"output_formatter": "sse"}}, "must be json"),
                              ({"inputs": "x", "parameters": {"aggregation_strategy": "max"}}, "unknown parameter"),
                              ({"inputs": "x", "parameters": {"max_new_tokens": 3}}, "unknown parameter")):
            status, told = self.server.post("/invocations", body)
            self.assertEqual((status, told["code"]), (400, 400), body)
            self.assertRegex(told["message"], pattern)
        self.refused(run("serve", "--model", self.model, "--output-formatter", "sse", "--port", 0, "--quiet"), 2,
                     r"--output-formatter sse .*: a model for text-classification answers by json alone")


class ServedTokens(Served):
    kind = "ForTokenClassification"
    how = {"labels": {str(i): name for i, name in enumerate(NAMES)},
           "rows": lambda width: [[0.1 + 0.01 * p if p < len(NAMED) and NAMED[p] == label else 0.0 for p in range(width)]
                                  for label in range(len(NAMES))]}
    text = "Ann of Bonn"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (told,) = run("classify", "--model", cls.model, "--text", cls.text, "--json").lines()
        cls.scores = [one["scores"] for one in told["tokens"]]
        assert [scores.index(max(scores)) for scores in cls.scores] == NAMED

    def one(self, i):
        return {"entity": NAMES[NAMED[i]], "score": max(self.scores[i]), "index": i, "word": self.text[i], "start": i, "end": i + 1}

    def group(self, name, score, start, end):
        return {"entity_group": name, "score": score, "word": self.text[start:end], "start": start, "end": end}

    def test_tokens(self):
        named = [self.one(i) for i, label in enumerate(NAMED) if label]
        self.near(self.ask(self.text), [named])
        self.near(self.ask([self.text] * 2, aggregation_strategy="none"), [named] * 2)
        self.near(self.ask(self.text, ignore_labels=["I-PER", "O"]), [[e for e in named if e["entity"] != "I-PER"]])
        told, = self.ask(self.text, ignore_labels=[])
        self.assertEqual([(e["entity"], e["word"]) for e in told[3:5]], [("O", "\u0120"), ("O", "o")])

    def test_groups(self):
        best = [max(scores) for scores in self.scores]
        mean = lambda *i: sum(best[k] for k in i) / len(i)
        self.near(self.ask(self.text, aggregation_strategy="simple"),
                  [[self.group("PER", mean(0, 1), 0, 2), self.group("LOC", mean(7, 8), 7, 9), self.group("PER", best[9], 9, 10),
                    self.group("LOC", best[10], 10, 11)]])
        self.near(self.ask(self.text, aggregation_strategy="first"),
                  [[self.group("PER", best[0], 0, 3), self.group("LOC", best[7], 7, 11)]])
        self.near(self.ask(self.text, aggregation_strategy="max"),
                  [[self.group("PER", best[1], 0, 3), self.group("PER", best[9], 7, 11)]])
        person, place = (sum(self.scores[i][label] for i in word) / len(word)
                         for label, word in ((2, range(3)), (4, range(7, 11))))
        self.near(self.ask(self.text, aggregation_strategy="average"),
                  [[self.group("PER", person, 0, 3), self.group("LOC", place, 7, 11)]])

    def test_places_are_characters(self):
        """Tokens of a byte have the place of their character; behind what is no UTF-8 nothing is known."""
        told, = self.ask("\u00e9 \U0001f600x", ignore_labels=[])
        self.assertEqual([(e["start"], e["end"]) for e in told], [(0, 1)] * 2 + [(1, 2)] + [(2, 3)] * 4 + [(3, 4)])
        status, _, data = self.server.ask("POST", "/invocations", b"a\xffb", {"Content-Type": "text/plain"})
        self.assertEqual([(e["start"], e["end"]) for e in json.loads(data)[0]][:1], [(0, 1)])
        self.assertIn(b'"start":null,"end":null', self.server.ask("POST", "/invocations", b"\xffbc", {"Content-Type": "text/plain"})[2])


if __name__ == "__main__":
    main()
