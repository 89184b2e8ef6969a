#!/usr/bin/env python3
"""check_serve_hostile.py: what the server refuses and how, clients that mean no good, ends under load."""
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import unittest

import support
from server import JSON, Server, at_once
from support import SHAKESPEARE, Case, main, needs_ranks, run

LONG = {"prompt": "The", "max_tokens": 800, "ignore_eos": True, "temperature": 0}
COMPLETIONS, CHAT, INVOCATIONS = "/v1/completions", "/v1/chat/completions", "/invocations"


def head(path=COMPLETIONS, *lines, method="POST", length=None):
    told = [f"{method} {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines]
    if length is not None:
        told.append(f"Content-Length: {length}")
    return ("\r\n".join(told) + "\r\n\r\n").encode()


class One(Case):
    options = ()
    ranks = 0

    @classmethod
    def setUpClass(cls):
        cls.server = Server(SHAKESPEARE, *cls.options, ranks=cls.ranks)
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        code = cls.server.end()
        if code != 0:
            raise AssertionError(f"exit code {code}:\n" + "\n".join(cls.server.lines[-20:]))

    def tearDown(self):
        """Whatever happened: it still answers, and nothing is left behind."""
        self.assertEqual(len(self.server.complete(prompt="The", max_tokens=3)["choices"]), 1)
        self.assertFalse(any(self.server.wait_idle().values()))


class Refusals(One):
    options = ("--max-request-size", 100000, "--max-sequences", 4, "--job-queue-size", 8)

    def refuses(self, body, status, pattern, param=None, code=None, path=COMPLETIONS):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        got, headers, answer = self.server.ask("POST", path, data, JSON)
        told = json.loads(answer)
        self.assertEqual((got, headers["Content-Type"]), (status, "application/json"), told)
        if path == INVOCATIONS:
            self.assertEqual((sorted(told), told["code"]), (["code", "error", "message", "type"], status))
            self.assertRegex(told["message"], pattern)
            return
        self.assertEqual((list(told), sorted(told["error"])), (["error"], ["code", "message", "param", "type"]))
        self.assertRegex(told["error"]["message"], pattern)
        self.assertEqual(told["error"]["param"], param, told)
        if code:
            self.assertEqual(told["error"]["code"], code)

    def test_parameters(self):
        for given, pattern, param in (
                ({}, "prompt is missing", "prompt"),
                ({"prompt": 5}, "prompt must be a string", "prompt"),
                ({"prompt": []}, "empty list", "prompt"),
                ({"prompt": [1, "a"]}, "no token id at index 1", "prompt"),
                ({"prompt": ["a", 1]}, "must list strings", "prompt"),
                ({"prompt": [-1]}, "no token id", "prompt"),
                ({"prompt": [[1, 2.5]]}, "no token id", "prompt"),
                ({"prompt": ["a"] * 65}, "more than 64", "prompt"),
                ({"prompt": [10**6]}, "vocabulary", None),
                ({"prompt": ""}, "no tokens", None),
                ({"max_tokens": 0}, "with echo alone", "max_tokens"),
                ({"max_tokens": -1}, r"must lie in 0\.\.10000000, found -1", "max_tokens"),
                ({"max_tokens": 1.5}, "must be an integer, found a real", "max_tokens"),
                ({"max_tokens": "5"}, "must be an integer, found a string", "max_tokens"),
                ({"max_tokens": 2**63 - 1}, "must lie in", "max_tokens"),
                ({"temperature": 2.1}, r"must lie in 0\.\.2, found 2.1", "temperature"),
                ({"temperature": True}, "must be a number", "temperature"),
                ({"top_p": 0}, "greater than 0", "top_p"),
                ({"top_k": -2}, "must lie in", "top_k"),
                ({"n": 0}, "must lie in", "n"), ({"n": 9}, "must lie in", "n"),
                ({"best_of": 2}, "not supported", "best_of"),
                ({"logprobs": 21}, "must lie in", "logprobs"),
                ({"logprobs": True}, "must be an integer", "logprobs"),
                ({"stop": ["x"] * 17}, "more than 16", "stop"),
                ({"stop": ""}, "1..256 bytes", "stop"), ({"stop": "x" * 257}, "1..256 bytes", "stop"),
                ({"stop": "a\0b"}, "NUL", "stop"), ({"stop": [5]}, "a string", "stop"),
                ({"stream": 1}, "true or false", "stream"),
                ({"stream_options": {"include_usage": True}}, "stream is not true", "stream_options"),
                ({"stream": True, "stream_options": {"other": True}}, "include_usage", "stream_options"),
                ({"suffix": "end"}, "not supported", "suffix"),
                ({"frequency_penalty": 2.1}, r"must lie in -2\.\.2, found 2.1", "frequency_penalty"),
                ({"presence_penalty": "1"}, "must be a number, found a string", "presence_penalty"),
                ({"logit_bias": [5]}, "must be an object, found an array", "logit_bias"),
                ({"logit_bias": {"5": 1, "the": 1}}, 'token ids as names, found "the"', "logit_bias"),
                ({"logit_bias": {"05": 1}}, 'found "05"', "logit_bias"),
                ({"logit_bias": {"-1": 1}}, 'found "-1"', "logit_bias"),
                ({"logit_bias": {"4294967296": 1}}, 'found "4294967296"', "logit_bias"),
                ({"logit_bias": {"": 1}}, 'found ""', "logit_bias"),
                ({"logit_bias": {"1000000": 1}}, "names token 1000000, but the ids of this vocabulary are 0 to", "logit_bias"),
                ({"logit_bias": {"5": 100.5}}, r"of token 5 must lie in -100\.\.100, found 100.5", "logit_bias"),
                ({"logit_bias": {"5": True}}, "of token 5 must be a number, found", "logit_bias"),
                ({"logit_bias": {str(i): 1 for i in range(301)}}, "more than 300 tokens: 301", "logit_bias"),
                ({"seed": -5}, "must lie in", "seed"),
                ({"wrong": 1}, 'unknown parameter "wrong"', "wrong"),
                ({"": 1}, 'unknown parameter ""', None)):
            with self.subTest(given=given):
                self.refuses({"prompt": "The", **given} if given else given, 400, pattern, param)
        # What means nothing is accepted.
        self.server.complete(prompt="The", frequency_penalty=0, presence_penalty=0.0, logit_bias={}, suffix=None, best_of=1,
                             top_k=-1, stop=[], user="u", stream_options=None, max_tokens=2)
        for given, pattern in (({}, "inputs is missing"), ({"inputs": "a", "parameters": 5}, "must be an object"),
                               ({"inputs": "a", "parameters": {"typical_p": 0.5}}, "not supported"),
                               ({"inputs": "a", "parameters": {"presence_penalty": 3}}, "must lie in"),
                               ({"inputs": "a", "parameters": {"logit_bias": {}}}, "unknown parameter"),
                               ({"inputs": "a", "parameters": {"inputs": "b"}}, "unknown parameter"),
                               ({"inputs": "a", "parameters": {"parameters": {}}}, "unknown parameter"),
                               ({"inputs": "a", "parameters": {"output_formatter": "xml"}}, "must be json, jsonlines"),
                               ({"inputs": "a", "parameters": {"max_new_tokens": 0}}, "must lie in")):
            with self.subTest(given=given):
                self.refuses(given, 400, pattern, path=INVOCATIONS)

    def test_what_never_fits(self):
        self.refuses({"prompt": "The", "max_tokens": 1024}, 400, "the context has 1024", code="context_length_exceeded")
        self.refuses({"prompt": "The " * 2000, "max_tokens": 1}, 400, "the context has 1024", code="context_length_exceeded")
        self.refuses({"prompt": ["The"] * 13, "max_tokens": 1}, 400, "13 answers, at most 12")

    def test_models_and_chat(self):
        self.refuses({"prompt": "The", "model": "other"}, 404, "not served here", "model", "model_not_found")
        self.refuses({"messages": [{"role": "user", "content": "hi"}]}, 400, "no chat template", "messages", path=CHAT)
        for given, pattern in (({}, "messages is missing"), ({"messages": []}, "found an empty one"),
                               ({"messages": "hi"}, "must be a list"), ({"messages": [5]}, "message 0 must be an object"),
                               ({"messages": [{"content": "hi"}]}, "with a role"),
                               ({"messages": [{"role": "user", "content": 5}]}, "content of message 0"),
                               ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "of type text")):
            with self.subTest(given=given):
                self.refuses(given, 400, pattern, "messages", path=CHAT)
        talk = {"messages": [{"role": "user", "content": "hi"}]}
        for given, pattern, param in (({"top_logprobs": 2}, "needs logprobs", "top_logprobs"),
                                      ({"tools": [{}]}, "not supported", "tools"),
                                      ({"response_format": {"type": "json_object"}}, "not supported", "response_format"),
                                      ({"chat_template_kwargs": {"messages": []}}, "without messages", "chat_template_kwargs"),
                                      ({"echo": True}, "unknown parameter", "echo")):
            with self.subTest(given=given):
                self.refuses({**talk, **given}, 400, pattern, param, path=CHAT)

    def test_json(self):
        for body, pattern in ((b"", "body is empty"), (b" ", "not valid JSON"), (b"{", "not valid JSON"), (b"[]", "must be a JSON object"),
                              (b'{"prompt":"a","prompt":"b"}', "duplicate"), (b'{"prompt":"\xff"}', "unable to decode"),
                              (b'{"prompt":"\xed\xa0\x80"}', "unable to decode"), (b'{"prompt":"\\ud800"}', "not valid JSON"),
                              (b'{"prompt":1e999}', "not valid JSON"), (b'{"prompt":[' + b"9" * 400 + b"]}", "not valid JSON"),
                              (b'{"a\\u0000b":1}', "not valid JSON"), (b'{"prompt":"a"} x', "not valid JSON"),
                              (b"[" * 33, "deeper than 32"), (b'{"x":' * 20000, "deeper than 32"),
                              (b'{"prompt":NaN}', "not valid JSON"), (b'{"prompt":"\x01"}', "not valid JSON")):
            with self.subTest(body=body[:40]):
                self.refuses(body, 400, pattern)
        # NUL and all of Unicode are text.
        self.server.complete(prompt="a\0b \U0001F600", max_tokens=2)
        for text in ("\U0001F600" * 20, "\0", "\ud7ff\ue000\uffff"):
            self.assertEqual(self.server.complete(prompt=text, max_tokens=1, echo=True)["choices"][0]["text"][:len(text)], text)

    def test_bodies(self):
        self.refuses(b" " * 100001, 413, "larger than 100000 bytes", code="request_too_large")
        got, _, _ = self.server.ask("POST", COMPLETIONS, b"{}", {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual(got, 415)
        got, _, _ = self.server.ask("POST", COMPLETIONS, b"{}", {"Content-Type": "text/plain"})
        self.assertEqual(got, 415)
        # Without a length, in pieces: too much is dropped and refused at the end.
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        told = self.server.raw(head(COMPLETIONS, "Transfer-Encoding: chunked", "Connection: close") + chunk * 5 + b"0\r\n\r\n")
        self.assertIn(b" 413 ", told.split(b"\r\n")[0])
        body = json.dumps({"prompt": "The", "max_tokens": 2}).encode()
        ones = b"".join(b"1\r\n" + bytes([c]) + b"\r\n" for c in body)
        told = self.server.raw(head(COMPLETIONS, "Transfer-Encoding: chunked", "Connection: close") + ones + b"0\r\n\r\n")
        self.assertIn(b"200 OK", told)
        self.assertIn(b'"text_completion"', told)

    def test_paths_and_methods(self):
        for method, path, status in (("GET", "/nothing", 404), ("GET", COMPLETIONS, 405), ("POST", "/health", 405),
                                     ("DELETE", "/v1/models", 405), ("GET", "/v1/models/", 404), ("GET", "/../etc/passwd", 404),
                                     ("GET", "/" + "x" * 5000, 404)):
            got, headers, body = self.server.ask(method, path)
            self.assertEqual((got, sorted(json.loads(body))), (status, ["error"]))
            self.assertEqual("Allow" in headers, status == 405)
        self.assertEqual(self.server.ask("OPTIONS", COMPLETIONS)[::2], (200, b"{}\n"))
        self.assertEqual(self.server.ask("OPTIONS", "/nothing")[0], 404)

    def test_queue(self):
        asks = [lambda: self.server.post(COMPLETIONS, {**LONG, "max_tokens": 150}) for _ in range(30)]
        told = at_once(asks)
        refused = [answer for status, answer in told if status == 429]
        done = [answer for status, answer in told if status == 200]
        self.assertEqual(len(refused) + len(done), 30)
        self.assertGreaterEqual(len(done), 12)
        self.assertEqual(len({answer["choices"][0]["text"] for answer in done}), 1)
        for answer in refused:
            self.assertEqual((answer["error"]["type"], answer["error"]["code"]), ("rate_limit_error", "queue_full"))

    def test_no_http(self):
        for data in (b"\0" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00" + b"a" * 500,
                     head(COMPLETIONS, "Content-Length: -5"), head(COMPLETIONS, "Content-Length: 99999999999999999999"),
                     head(COMPLETIONS, "Transfer-Encoding: chunked") + b"zz\r\n", head(COMPLETIONS, "X: " + "y" * 100000),
                     head(COMPLETIONS, *(f"X{i}: y" for i in range(10000)))):
            with self.subTest(data=data[:60]):
                told = self.server.raw(data, half_close=True)
                self.assertTrue(told == b"" or told.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")), told[:200])


class Leaving(One):
    """Clients that go away: their requests end, and what they held is free."""
    options = ("--max-sequences", 8)

    def begin(self, body):
        data = json.dumps(body).encode()
        s = socket.create_connection(("127.0.0.1", self.server.port), 30)
        s.sendall(head(length=len(data)) + data)
        return s

    def ended_early(self, before, clients):
        self.assertFalse(any(self.server.wait_idle().values()))
        made = self.server.metric("generation_tokens_total") - before
        self.assertLess(made, LONG["max_tokens"] * clients)

    def test_streams(self):
        before = self.server.metric("generation_tokens_total")
        for _ in range(20):
            with self.begin({**LONG, "stream": True, "n": 2}) as s:
                self.assertTrue(s.recv(15).startswith(b"HTTP/1.1 200"))
        self.ended_early(before, 40)

    def test_whole_answers(self):
        before = self.server.metric("generation_tokens_total")
        for how in range(20):
            s = self.begin({**LONG, "n": 4})
            if how % 2:
                s.shutdown(socket.SHUT_WR)
            s.close()
        self.ended_early(before, 80)

    def test_steps_until_free(self):
        """How many tokens a stream was made after its client had left; some are on their way."""
        data = json.dumps({**LONG, "stream": True}).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), 30) as s:
            s.sendall(head(COMPLETIONS, "X-Request-Id: leaver", length=len(data)) + data)
            read = 0
            while read < 20:
                read += s.recv(4096).count(b"data: ")
        self.server.wait_for('"id":"leaver"')
        line, = [line for line in self.server.requests_logged() if line["id"] == "leaver"]
        self.assertLess(line["generated_tokens"], 500)

    def test_unread_streams(self):
        """Clients that never read hold nothing up."""
        held = [self.begin({**LONG, "stream": True}) for _ in range(8)]
        self.assertEqual(len(self.server.complete(prompt="The", max_tokens=5)["choices"]), 1)
        for s in held:
            s.close()

    def test_crowds(self):
        """Connections that ask for nothing do not keep others out for long."""
        server = Server(SHAKESPEARE, "--max-connections", 40)
        crowd = [socket.create_connection(("127.0.0.1", server.port), 30) for _ in range(70)]
        began = time.monotonic()
        self.assertEqual(server.get("/health")[0], 200)
        self.assertLess(time.monotonic() - began, 45 * support.SLOWNESS)
        for s in crowd:
            s.close()
        self.assertEqual(server.end(), 0)

    def test_half_bodies(self):
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", self.server.port), 30) as s:
                s.sendall(head(length=1000) + b'{"prompt":')
        # One that closes its side alone is ended, too.
        self.assertEqual(self.server.raw(head(length=1000) + b'{"prompt":', half_close=True), b"")
        self.server.wait_for('"status":499')


class Keys(Case):
    def test_keys(self):
        server = Server(SHAKESPEARE, env={"OPTION_API_KEY": "s3cret"})
        try:
            for path in ("/ping", "/health"):
                self.assertEqual(server.get(path)[0], 200)
            for method, path in (("GET", "/metrics"), ("GET", "/v1/models"), ("POST", COMPLETIONS), ("POST", INVOCATIONS),
                                 ("POST", "/v1/chat/completions"), ("GET", "/nothing"), ("POST", "/health")):
                for given in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Bearer s3crets"},
                              {"Authorization": "Bearer "}, {"Authorization": "s3cret"}, {"Authorization": "Bearer s3creT"}):
                    got, headers, body = server.ask(method, path, b"{}" if method == "POST" else None, {**JSON, **given})
                    self.assertEqual((got, headers["WWW-Authenticate"]), (401, "Bearer"), (path, given))
                    self.assertEqual(json.loads(body)["code"] if path == INVOCATIONS else
                                     json.loads(body)["error"]["code"], 401 if path == INVOCATIONS else "invalid_api_key")
            key = {"Authorization": "Bearer s3cret"}
            self.assertEqual(server.ask("GET", "/v1/models", headers=key)[0], 200)
            self.assertEqual(server.post(COMPLETIONS, {"prompt": "The", "max_tokens": 1}, key)[0], 200)
        finally:
            self.assertEqual(server.end(), 0)
        self.assertNotIn("s3cret", "\n".join(server.lines))
        told = run("config", "--model", SHAKESPEARE, env={"OPTION_API_KEY": "s3cret"})
        self.assertEqual((told.code, b"s3cret" in told.out), (0, False))


class Ends(Case):
    """What was accepted is answered or gets a clear error, whenever the end comes."""

    def under_load(self, ranks, number, wait, *options):
        """(exit code, answers, seconds to the end) of a server that gets the signal while 12 clients ask and ask."""
        server = Server(SHAKESPEARE, "--max-sequences", 4, *options, ranks=ranks)
        answers = []

        def ask(stream):
            body = json.dumps({**LONG, "max_tokens": 80, "stream": stream}).encode()
            status = 200
            while status == 200:
                try:
                    status, _, data = server.ask("POST", COMPLETIONS, body, JSON)
                    whole = data.rstrip().endswith(b"[DONE]") if stream else b'"usage"' in data
                    answers.append((status, whole, b'"error"' in data))
                except OSError:
                    status = "gone"
                    answers.append((status, False, False))
                except http.client.HTTPException as error:
                    status = repr(error)
                    answers.append((status, False, False))

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for i in range(12):
                pool.submit(ask, i % 2 == 1)
            time.sleep(wait)
            began = time.monotonic()
            code = server.stop(number)
        return code, answers, time.monotonic() - began

    def check_drained(self, code, answers):
        """Every answer is whole, a clear error, or a connection that came when the server had gone."""
        self.assertEqual(code, 0)
        for answer in answers:
            self.assertIn(answer, ((200, True, False), (503, False, True), ("gone", False, False)))
        lost = sum(answer[0] not in (200, 503) for answer in answers)
        self.assertLessEqual(lost, 12)
        self.assertGreater(len(answers), 11)

    def test_drain(self):
        for wait in (0.02, 0.3, 0.6):
            code, answers, _ = self.under_load(0, signal.SIGTERM, wait)
            self.check_drained(code, answers)
        self.assertTrue(any(status == 200 for status, _, _ in answers))

    @needs_ranks
    def test_drain_on_two_ranks(self):
        code, answers, _ = self.under_load(2, signal.SIGUSR1, 0.4)
        self.check_drained(code, answers)
        self.assertTrue(any(status == 200 for status, _, _ in answers))

    def test_draining_refuses(self):
        server = Server(SHAKESPEARE, "--drain-timeout", 200)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.post, COMPLETIONS, {**LONG, "n": 8, "max_tokens": 300})
            while server.metric("num_requests_running") < 8:
                pass
            server.signal(signal.SIGTERM)
            server.wait_for("draining")
            self.assertEqual((server.get("/health")[0], server.get("/ping")[0]), (503, 503))
            self.assertEqual(server.post(COMPLETIONS, LONG)[0], 503)
            self.assertEqual(asked.result()[0], 200)
        self.assertEqual(server.stop(), 0)

    def test_second_signal(self):
        server = Server(SHAKESPEARE)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(server.post, COMPLETIONS, {**LONG, "n": 8, "prompt": ["The"] * 8})
            while server.metric("num_requests_running") < 60:
                pass
            server.signal(signal.SIGTERM)
            server.wait_for("draining")
            code = server.stop(signal.SIGTERM, 60)
            status, answer = asked.result()
        self.assertEqual((code, status), (143, 503))
        self.assertRegex(answer["error"]["message"], "shutting down")

    def test_times_over(self):
        server = Server(SHAKESPEARE, "--drain-timeout", 0.1, "--request-timeout", 0.15)
        status, answer = server.post(COMPLETIONS, {**LONG, "n": 8, "prompt": ["The"] * 8})
        self.assertEqual((status, answer["error"]["type"]), (504, "timeout_error"))
        self.assertEqual(server.end(), 0)
        code, _, seconds = self.under_load(0, signal.SIGTERM, 0.3, "--drain-timeout", 0.05)
        self.assertIn(code, (0, 5))
        self.assertLess(seconds, 10 * support.SLOWNESS)

    @needs_ranks
    def test_lost_rank(self):
        """Under load and without: requests get a clear error, and the job ends."""
        for load in (True, False):
            server = Server(SHAKESPEARE, ranks=2)
            ranks = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, check=True).stdout.split()
            with concurrent.futures.ThreadPoolExecutor(2) as pool:
                asks = [pool.submit(server.ask, "POST", COMPLETIONS, json.dumps({**LONG, "n": 8, "stream": stream}).encode(), JSON)
                        for stream in (True, False) if load]
                while load and server.metric("num_requests_running") < 16:
                    pass
                os.kill(int(ranks[1]), signal.SIGKILL)
                self.assertNotIn(server.stop(seconds=30), (0, None))
                for ask, status in zip(asks, (200, 503)):
                    got, _, data = ask.result()
                    self.assertEqual((got, b"the server has failed" in data), (status, True), data[-300:])

    def test_addresses(self):
        server = Server(SHAKESPEARE)
        self.refused(run("serve", "--model", SHAKESPEARE, "--port", server.port, "--quiet"), 2,
                     f"cannot listen on 127.0.0.1 port {server.port}")
        self.assertEqual(server.end(), 0)
        self.refused(run("serve", "--model", SHAKESPEARE, "--host", "no.such.host.invalid", "--quiet"), 2, "--host no.such")
        self.refused(run("serve", "--model", SHAKESPEARE, "--port", 0, "--quiet", "--chat-template", "/no/such/file"), 3,
                     "/no/such/file")


if __name__ == "__main__":
    main()
