#!/usr/bin/env python3
"""check_chat.py: conversations as prompts: which template is taken, what it is given, what is refused."""
import json
import unittest

from support import ORACLE, SHAKESPEARE, Case, TempFolder, main, run

USAGE, FILE = 2, 3
PLAIN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}" \
        "{% if add_generation_prompt %}[assistant]{% endif %}"
TALK = [{"role": "user", "content": "Who goes there? é😀"}]


class Chat(Case):
    def setUp(self):
        self.model = TempFolder(type(self)).copy(SHAKESPEARE, "model")
        self.set_config(chat_template=PLAIN, bos_token="<B>", eos_token={"content": "<E>"})

    def set_config(self, **changes):
        path = self.model / "tokenizer_config.json"
        config = json.loads(path.read_text())
        config.update(changes)
        path.write_text(json.dumps(config))

    def write(self, talk, name="talk.json"):
        path = self.model.parent / name
        path.write_text(talk if isinstance(talk, str) else json.dumps(talk))
        return path

    def prompt(self, talk, *args):
        (told,) = self.good("tokenize", "--model", self.model, "--chat", self.write(talk), "--json", *args).lines()
        plain = self.good("tokenize", "--model", self.model, "--chat", self.write(talk), *args).out.decode()
        self.assertEqual(plain, told["text"] + "\n")
        return told["text"]

    def test_messages(self):
        self.assertEqual(self.prompt(TALK), "<B>[user]Who goes there? é😀<E>[assistant]")
        self.assertEqual(self.prompt({"messages": TALK}), "<B>[user]Who goes there? é😀<E>[assistant]")
        self.assertEqual(self.prompt(TALK, "--no-generation-prompt"), "<B>[user]Who goes there? é😀<E>")

    def test_variables(self):
        self.set_config(chat_template="{{ tools }} {{ documents }} {{ mode }} {{ bos_token }} {{ add_generation_prompt }} "
                                      "{{ unk_token is defined }} {{ pad_token }}")
        (self.model / "special_tokens_map.json").write_text('{"bos_token": "no", "pad_token": "<P>"}')
        told = self.prompt({"messages": TALK, "mode": "x", "bos_token": "mine", "add_generation_prompt": False, "tools": [1]})
        config = json.loads((self.model / "tokenizer_config.json").read_text())
        unknown = config.get("unk_token") is not None
        self.assertEqual(told, f"[1] None x <B> True {unknown} {config.get('pad_token') or '<P>'}")

    def test_which_template(self):
        named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}, {"name": "x", "template": "{{"}]
        self.set_config(chat_template=named)
        self.assertEqual(self.prompt(TALK), "D")
        self.assertEqual(self.prompt({"messages": TALK, "tools": [{}]}), "T")
        (self.model / "chat_template.jinja").write_text("F\n")
        self.assertEqual(self.prompt(TALK), "F")
        self.assertEqual(self.prompt(TALK, "--chat-template", self.write("{{ 1 + 1 }}", "own.jinja")), "2")

    def test_generate_reads_the_ids_of_the_prompt(self):
        # Tokens that are named and unknown would be new ones, beyond the model's vocabulary.
        self.set_config(chat_template=PLAIN.replace("bos_token", "'B: '").replace("eos_token", "'.'"), bos_token=None, eos_token=None)
        talk = self.write(TALK)
        (told,) = self.good("tokenize", "--model", self.model, "--chat", talk, "--json").lines()
        (ours,) = self.generate(self.model, "--chat", talk, "--max-new-tokens", 5)
        self.assertEqual(ours["prompt_ids"], told["ids"])
        (theirs,) = self.generate(self.model, "--ids", ",".join(map(str, told["ids"])), "--max-new-tokens", 5)
        self.assertEqual(ours, theirs)
        many = self.generate(self.model, "--prompt", "a", "--chat", talk, "--chat", talk, "--max-new-tokens", 2)
        self.assertEqual([one["prompt_ids"] == told["ids"] for one in many], [False, True, True])
        piped = self.good("generate", "--model", self.model, "--chat", "-", "--max-new-tokens", 5, "--json", "--quiet",
                          stdin=talk.read_bytes()).lines()
        self.assertEqual(piped, [ours])

    def test_refused(self):
        for talk, code, pattern in [
            ("", USAGE, r"talk\.json: line 1: is no JSON"), ("[{]", USAGE, r"is no JSON"), ("[]", USAGE, r"expected a list"),
            ("5", USAGE, r"is no JSON|expected a list"), ('{"messages": {}}', USAGE, r"expected a list"),
            ('[{"content": "x"}]', USAGE, r'message 1 must be an object with a "role"'),
            ('[{"role": "user"}, 5]', USAGE, r"message 2 must be an object"),
            ('[{"role": "a", "role": "b"}]', USAGE, r"is no JSON: duplicate"),
            ('[{"role": "a\\u0000"}]', USAGE, r"is no JSON"),
            ("[" * 5000, USAGE, r"is no JSON"),
        ]:
            with self.subTest(talk[:40]):
                self.refused(run("tokenize", "--model", self.model, "--chat", self.write(talk)), code, pattern)
        self.refused(run("tokenize", "--model", self.model, "--chat", self.model / "nowhere"), FILE, "cannot be opened")
        for template, code, pattern in [
            ("{% if %}", FILE, r"chat_template: line 1: expected an expression"), (5, FILE, r"must be a string"),
            ("\n{{ raise_exception('no such role: ' ~ messages[0].role) }}", USAGE, r"line 2: no such role: user"),
            (None, FILE, r"there is no chat template"), ([], FILE, r"there is no chat template"),
            ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", USAGE, r"than it may"),
        ]:
            with self.subTest(str(template)[:40]):
                self.set_config(chat_template=template)
                self.refused(run("generate", "--model", self.model, "--chat", self.write(TALK), "--quiet"), code, pattern)
        self.refused(run("generate", "--model", ORACLE / "llama_gqa", "--chat", self.write(TALK), "--quiet"), FILE,
                     r"llama_gqa: there is no chat template")
        self.refused(run("score", "--model", self.model, "--chat", self.write(TALK)), USAGE, r"--chat does not belong")


if __name__ == "__main__":
    main()
