#!/usr/bin/env python3
"""check_classify.py: what `tessera classify` prints and refuses; its numbers are check_heads.py's matter.

The model knows its position and nothing else: label B at odd positions, A at even ones, C never.
"""
import json

import models
from support import ORACLE, Case, TempFolder, main, run

LABELS = {"0": "A", "1": "B", "2": "C \"rare\""}


def make(folder, kind):
    """A classifier over the layers of the reciter, whose last row is its position."""
    models.make_reciter(folder, [65], models.byte_level_tokenizer())
    config = json.loads((folder / "config.json").read_text())
    width = config["n_embd"]
    config.update(architectures=["GPT2" + kind], id2label=LABELS, pad_token_id=None)
    (folder / "config.json").write_text(json.dumps(config))
    rows = [[1.0 if p % 2 == 0 else 0.0 for p in range(width)], [0.5 * (p % 2) for p in range(width)], [-1.0 if p < 20 else 0.0 for p in range(width)]]
    weight = models.floats([value for row in rows for value in row])
    name = "score" if kind == "ForSequenceClassification" else "classifier"
    tensors = [(f"{name}.weight", "F32", (3, width), weight)]
    if name == "classifier":
        tensors.append((f"{name}.bias", "F32", (3,), models.floats([0.0, 0.0, 0.25])))
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

    def test_language_model_of_the_same_layers(self):
        """--task takes another head than the architecture says, where the file has it."""
        told = self.generate(self.text, "--task", "text-generation", "--ids", "63", "--max-new-tokens", 2)
        self.assertEqual(told[0]["ids"], [65, 256])


if __name__ == "__main__":
    main()
