#!/usr/bin/env python3
"""check_openai_client.py: the `openai` package against a server, unchanged. Run by hand where the package is:

    pip install openai && tests/program/check_openai_client.py build/tessera
"""
import unittest

from server import Server
from support import MPIRUN, SHAKESPEARE, Case, TempFolder, main

try:
    import openai
except ImportError:
    openai = None

TEMPLATE = "{% for m in messages %}{{ m.role | upper }}:\n{{ m.content }}\n\n{% endfor %}ROMEO:\n"


@unittest.skipUnless(openai, "the package openai is not here")
class Client(Case):
    @classmethod
    def setUpClass(cls):
        template = TempFolder(cls).path / "chat.jinja"
        template.write_text(TEMPLATE)
        cls.server = Server(SHAKESPEARE, "--chat-template", template, ranks=2 if MPIRUN else 0, env={"OPTION_API_KEY": "key"})
        cls.addClassCleanup(cls.server.end)
        url = f"http://127.0.0.1:{cls.server.port}/v1"
        cls.client = openai.OpenAI(base_url=url, api_key="key", max_retries=0)
        cls.stranger = openai.OpenAI(base_url=url, api_key="other", max_retries=0)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["shakespeare"])

    def test_completions(self):
        asked = dict(model="shakespeare", prompt="ROMEO:", max_tokens=20, temperature=0)
        whole = self.client.completions.create(**asked, logprobs=2, stop=["sir"], n=2, seed=1)
        self.assertEqual([choice.finish_reason for choice in whole.choices], ["stop", "stop"])
        self.assertEqual(len(whole.choices[0].logprobs.tokens), whole.usage.completion_tokens // 2)
        plain = self.client.completions.create(**asked).choices[0].text
        self.assertTrue(plain.startswith(whole.choices[0].text))
        pieces = list(self.client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(piece.choices[0].text for piece in pieces if piece.choices), plain)
        self.assertEqual(pieces[-1].usage.completion_tokens, 20)

    def test_chats(self):
        asked = dict(model="shakespeare", messages=[{"role": "user", "content": "Who is there?"}], max_tokens=20, temperature=0)
        whole = self.client.chat.completions.create(**asked, logprobs=True, top_logprobs=3)
        self.assertEqual((whole.object, whole.choices[0].finish_reason), ("chat.completion", "length"))
        rows = whole.choices[0].logprobs.content
        self.assertEqual("".join(row.token for row in rows), whole.choices[0].message.content)
        self.assertEqual({len(row.top_logprobs) for row in rows}, {3})
        with self.client.chat.completions.stream(**asked) as stream:
            text = "".join(event.delta for event in stream if event.type == "content.delta")
        self.assertEqual(text, whole.choices[0].message.content)
        stopped = self.client.chat.completions.create(**asked, stop=text[5:9])
        self.assertEqual((stopped.choices[0].message.content, stopped.choices[0].finish_reason), (text[:5], "stop"))

    def test_errors(self):
        ask = self.client.completions.create
        with self.assertRaises(openai.AuthenticationError):
            self.stranger.models.list()
        with self.assertRaises(openai.NotFoundError) as caught:
            ask(model="other", prompt="a")
        self.assertEqual((caught.exception.code, caught.exception.param), ("model_not_found", "model"))
        with self.assertRaises(openai.BadRequestError) as caught:
            ask(model="shakespeare", prompt="a", max_tokens=5000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError):
            ask(model="shakespeare", prompt="a", temperature=3)

    def test_leaving_a_stream(self):
        with self.client.completions.create(model="shakespeare", prompt="a", max_tokens=900, stream=True) as stream:
            next(iter(stream))
        self.server.get = lambda path: self.server.ask("GET", path, headers={"Authorization": "Bearer key"})
        self.assertFalse(any(self.server.wait_idle().values()))


if __name__ == "__main__":
    main()
