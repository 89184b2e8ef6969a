#!/usr/bin/env python3
"""check_serve.py: the server answers as its document says, field by field: on one rank and on two."""
import functools
import json
import pathlib
import re
import signal
import subprocess
import sys
import unittest

import support
from server import JSON, Server, at_once, parse_events
from support import ROOT, SHAKESPEARE, Case, TempFolder, main, needs_ranks, run

PROMPTS = ["ROMEO:", "JULIET:\nO", "First Citizen:\nBefore we proceed any further, hear me speak.\n", "The",
           "KING RICHARD III:\nNow is the winter of", "\n\n", "é ü 語"]


def usage(given, made, cached=0):
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": cached}}


class Served(Case):
    """One server for all tests of a class."""
    ranks = 0
    options = ()
    how = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(SHAKESPEARE, "--dtype", "float32", *cls.options, ranks=cls.ranks, **cls.how)
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        code = cls.server.end()
        if code != 0:
            raise AssertionError(f"exit code {code}:\n" + "\n".join(cls.server.lines[-20:]))


class Shapes(Served):
    def test_states(self):
        status, headers, data = self.server.get("/ping")
        self.assertEqual((status, json.loads(data)), (200, {"shakespeare": {"status": "Healthy"}}))
        self.assertEqual(headers["Content-Type"], "application/json")
        self.assertEqual(self.server.get("/health")[::2], (200, b'{"status":"ok"}\n'))
        status, _, data = self.server.ask("HEAD", "/health")
        self.assertEqual((status, data), (200, b""))
        models = json.loads(self.server.get("/v1/models")[2])
        self.assertEqual(models["object"], "list")
        self.assertEqual([(m["id"], m["object"], m["max_model_len"]) for m in models["data"]],
                         [("shakespeare", "model", 1024)])

    def test_page(self):
        status, headers, data = self.server.get("/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual(data, (ROOT / "launch" / "serve" / "page.html").read_bytes())
        self.assertIn("connect-src 'self'", headers["Content-Security-Policy"])
        self.assertNotRegex(data.decode(), r"(?i)(src|href)=|https?:")  # nothing from elsewhere

    def test_completion(self):
        answer = self.server.complete(prompt="ROMEO:", max_tokens=12, model="shakespeare", user="somebody", logprobs=None)
        self.assertRegex(answer.pop("id"), r"^cmpl-[0-9a-f]{32}$")
        self.assertGreater(answer.pop("created"), 1.7e9)
        text, timing = answer["choices"][0].pop("text"), answer.pop("timing")
        self.assertEqual(list(timing), ["queue_seconds", "first_token_seconds", "seconds"])
        self.assertTrue(0 < timing["queue_seconds"] <= timing["first_token_seconds"] < timing["seconds"] < 60, timing)
        self.assertEqual(answer, {"object": "text_completion", "model": "shakespeare",
                                  "choices": [{"index": 0, "logprobs": None, "finish_reason": "length"}],
                                  "usage": usage(2, 12)})
        self.assertGreater(len(text), 10)
        self.assertEqual(self.server.complete(prompt="ROMEO:")["usage"]["completion_tokens"], 16)

    def test_completion_is_what_generate_gives(self):
        ids = self.generate(SHAKESPEARE, "--dtype", "float32", "--max-new-tokens", 40,
                            *(x for p in PROMPTS for x in ("--prompt", p)))
        answer = self.server.complete(prompt=PROMPTS, max_tokens=40)
        self.assertEqual([choice["text"] for choice in answer["choices"]], [line["text"] for line in ids])
        self.assertEqual([choice["index"] for choice in answer["choices"]], list(range(len(PROMPTS))))
        again = self.server.complete(prompt=[line["prompt_ids"] for line in ids], max_tokens=40)
        self.assertEqual([choice["text"] for choice in again["choices"]], [line["text"] for line in ids])
        alone = self.server.complete(prompt=ids[0]["prompt_ids"], max_tokens=40)
        self.assertEqual(alone["choices"][0]["text"], ids[0]["text"])

    def test_logprobs(self):
        given = {"prompt": PROMPTS[2], "max_tokens": 15, "logprobs": 3}
        told = self.server.complete(**given)["choices"][0]
        rows = told["logprobs"]
        self.assertEqual("".join(rows["tokens"]), told["text"])
        self.assertEqual({key: len(value) for key, value in rows.items()},
                         dict.fromkeys(("tokens", "token_logprobs", "top_logprobs", "text_offset"), 15))
        starts = [sum(map(len, rows["tokens"][:i])) for i in range(15)]
        self.assertEqual(rows["text_offset"], starts)
        for token, logprob, best in zip(rows["tokens"], rows["token_logprobs"], rows["top_logprobs"]):
            self.assertEqual(len(best), 3)
            self.assertEqual(max(best, key=best.get), token)  # greedy
            self.assertAlmostEqual(best[token], logprob, places=5)
        echoed = self.server.complete(**given, echo=True)["choices"][0]
        self.assertEqual(echoed["text"], PROMPTS[2] + told["text"])
        before = len(echoed["logprobs"]["tokens"]) - 15
        self.assertEqual("".join(echoed["logprobs"]["tokens"]), echoed["text"])
        self.assertIsNone(echoed["logprobs"]["token_logprobs"][0])
        self.assertIsNone(echoed["logprobs"]["top_logprobs"][0])
        for old, new in zip(rows["token_logprobs"], echoed["logprobs"]["token_logprobs"][before:]):
            self.assertAlmostEqual(old, new, places=4)
        scored = self.good("score", "--model", SHAKESPEARE, "--dtype", "float32", "--text", PROMPTS[2], "--json", "--quiet")
        for ours, theirs in zip(echoed["logprobs"]["token_logprobs"][1:before], scored.lines()[0]["logprobs"][1:]):
            self.assertAlmostEqual(ours, theirs, places=4)
        only = self.server.complete(prompt=PROMPTS[2], max_tokens=0, echo=True, logprobs=0)["choices"][0]
        self.assertEqual(only["text"], PROMPTS[2])
        self.assertEqual(len(only["logprobs"]["tokens"]), before)
        self.assertIsNone(only["logprobs"]["top_logprobs"])

    def test_logit_bias(self):
        given = {"prompt": "ROMEO:", "max_tokens": 8, "logprobs": 3}
        line, = self.generate(SHAKESPEARE, "--dtype", "float32", "--prompt", "ROMEO:", "--max-new-tokens", 8)
        plain, forced, banned, many = (self.server.complete(**given, logit_bias=bias)["choices"][0]["logprobs"] for bias in
                                       ({}, {line["ids"][0]: 100}, {line["ids"][0]: -100}, {i: -0.5 for i in range(300)}))
        first = plain["tokens"][0]
        self.assertEqual(forced["tokens"], [first] * 8)
        self.assertNotIn(first, banned["tokens"])
        self.assertEqual(len(many["tokens"]), 8)
        # What is reported is what the model says, whatever was made of it.
        for other in (forced, banned):
            self.assertEqual(max(other["top_logprobs"][0], key=other["top_logprobs"][0].get), first)
            self.assertAlmostEqual(other["top_logprobs"][0][first], plain["token_logprobs"][0], places=4)
        self.assertAlmostEqual(forced["token_logprobs"][0], plain["token_logprobs"][0], places=4)
        self.assertLess(max(forced["token_logprobs"][1:]), -1)

    def test_penalties(self):
        given = {"prompt": "ROMEO:", "max_tokens": 32, "logprobs": 20}
        both = {"frequency_penalty": 0.3, "presence_penalty": 0.7}
        ways = [{}, {"frequency_penalty": -2, "presence_penalty": -2}, both]
        ways += [] if support.SANITIZED else [{"frequency_penalty": 1}, {"presence_penalty": 2}]
        told = at_once([lambda w=way: self.server.complete(**given, **w)["choices"][0] for way in ways])
        plain, stuck, *penalised = (choice["logprobs"]["tokens"] for choice in told)
        self.assertLess(len(set(stuck)), len(set(plain)))
        for way, tokens, choice in zip(ways[2:], penalised, told[2:]):
            self.assertNotEqual(tokens, plain)
            self.assertEqual(tokens[0], plain[0])  # the prompt does not count
            frequency, presence = way.get("frequency_penalty", 0), way.get("presence_penalty", 0)
            for i, best in enumerate(choice["logprobs"]["top_logprobs"]):
                said = tokens[:i]
                left = {t: l - frequency * said.count(t) - presence * (t in said) for t, l in best.items()}
                if max(left.values()) > min(best.values()) + 1e-3:  # else it may be one that is not listed
                    self.assertGreater(left[tokens[i]], max(left.values()) - 1e-3)
        line, = self.generate(SHAKESPEARE, "--dtype", "float32", "--prompt", "ROMEO:", "--max-new-tokens", 32,
                              "--frequency-penalty", 0.3, "--presence-penalty", 0.7)
        self.assertEqual(line["text"], told[2]["text"])
        _, invoked = self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 32, **both}})
        self.assertEqual(invoked["generated_text"], told[2]["text"])

    def test_stop(self):
        whole = self.server.complete(prompt="ROMEO:", max_tokens=60)["choices"][0]["text"]
        stop = whole[20:27]
        for wanted in (stop, [stop], ["never there", stop]):
            told = self.server.complete(prompt="ROMEO:", max_tokens=60, stop=wanted)["choices"][0]
            self.assertEqual((told["text"], told["finish_reason"]), (whole[:whole.index(stop)], "stop"))
        pieces = self.server.events({"prompt": "ROMEO:", "max_tokens": 60, "stop": stop})
        self.assertEqual("".join(p["choices"][0]["text"] for p in pieces), whole[:whole.index(stop)])
        self.assertEqual(pieces[-1]["choices"][0]["finish_reason"], "stop")

    def test_seeds_and_answers(self):
        drawn = {"prompt": "The", "max_tokens": 20, "temperature": 0.9, "seed": 11}
        three = [choice["text"] for choice in self.server.complete(**drawn, n=3)["choices"]]
        self.assertEqual(len(set(three)), 3)
        for i, text in enumerate(three):
            alone = self.server.complete(**{**drawn, "seed": 11 + i})
            self.assertEqual(alone["choices"][0]["text"], text)
            self.assertEqual(alone["usage"], usage(1, 20))
        del drawn["seed"]
        self.assertGreater(len({self.server.complete(**drawn)["choices"][0]["text"] for _ in range(4)}), 1)
        self.assertEqual(self.server.complete(prompt=["The", "ROMEO:"], n=2, max_tokens=3)["usage"], usage(3, 12))

    def test_streams_are_the_whole(self):
        whole = self.server.complete(prompt=PROMPTS, max_tokens=50)
        pieces = self.server.events({"prompt": PROMPTS, "max_tokens": 50, "stream_options": {"include_usage": True}})
        self.assertEqual(pieces[-1]["usage"], whole["usage"])
        self.assertEqual(pieces[-1]["choices"], [])
        texts, ends = {}, {}
        for piece in pieces[:-1]:
            self.assertEqual(sorted(piece), ["choices", "created", "id", "model", "object", "usage"])
            self.assertEqual((piece["id"], piece["usage"]), (pieces[0]["id"], None))
            choice, = piece["choices"]
            self.assertNotIn(choice["index"], ends)
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
            if choice["finish_reason"]:
                ends[choice["index"]] = choice["finish_reason"]
        self.assertEqual([texts[i] for i in range(len(PROMPTS))], [c["text"] for c in whole["choices"]])
        self.assertEqual(ends, dict.fromkeys(range(len(PROMPTS)), "length"))

    def test_streamed_logprobs(self):
        for echo in (False, True):
            given = {"prompt": PROMPTS[2], "max_tokens": 12, "logprobs": 2, "echo": echo}
            whole = self.server.complete(**given)["choices"][0]
            rows = {key: [] for key in whole["logprobs"]}
            pieces = self.server.events(given)
            for piece in pieces:
                for key, part in piece["choices"][0]["logprobs"].items():
                    rows[key] += part
            self.assertEqual("".join(p["choices"][0]["text"] for p in pieces), whole["text"])
            self.assertEqual(rows["tokens"], whole["logprobs"]["tokens"])
            self.assertEqual(rows["text_offset"], whole["logprobs"]["text_offset"])

    def test_streams_come_in_pieces(self):
        connection = self.server.connect()
        body = json.dumps({"prompt": "The", "max_tokens": 900, "stream": True, "ignore_eos": True}).encode()
        connection.request("POST", "/v1/completions", body, JSON)
        response = connection.getresponse()
        first = response.readline()
        self.assertTrue(first.startswith(b"data: {"))
        self.assertGreaterEqual(self.server.metric("num_requests_running"), 0)
        rest = response.read()
        self.assertEqual(response.headers["Transfer-Encoding"], "chunked")
        self.assertGreater(len(parse_events(first + rest)), 20)
        connection.close()

    def test_invocation(self):
        plain = self.server.complete(prompt="ROMEO:", max_tokens=30)["choices"][0]["text"]
        given = {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 30}}
        self.assertEqual(self.server.post("/invocations", given), (200, {"generated_text": plain}))
        for path in ("/invocations", "/predictions/shakespeare", "/models/shakespeare/invoke"):
            self.assertEqual(self.server.post(path, {"inputs": "ROMEO:"}), (200, {"generated_text": plain}))
        for path in ("/predictions/", "/predictions/other", "/models/other/invoke", "/models/shakespeare"):
            self.assertEqual(self.server.post(path, {"inputs": "ROMEO:"})[0], 404)
        self.assertEqual(self.server.post("/invocations", {"inputs": ["ROMEO:"] * 2}), (200, [{"generated_text": plain}] * 2))
        given["parameters"]["return_full_text"] = True
        self.assertEqual(self.server.post("/invocations", given), (200, {"generated_text": "ROMEO:" + plain}))
        status, _, data = self.server.ask("POST", "/invocations", b"ROMEO:", {"Content-Type": "text/plain"})
        self.assertEqual((status, json.loads(data)), (200, [{"generated_text": plain}]))
        given["parameters"] = {"output_formatter": "none"}
        self.assertEqual(self.server.ask("POST", "/invocations", json.dumps(given).encode(), JSON)[2].decode(), plain)
        given["parameters"] = {"do_sample": True, "seed": 4, "max_new_tokens": 30}
        drawn = self.server.post("/invocations", given)[1]["generated_text"]
        self.assertNotEqual(drawn, plain)
        self.assertEqual(self.server.post("/invocations", given)[1]["generated_text"], drawn)
        given["parameters"] = {"truncate": 1}
        self.assertNotEqual(self.server.post("/invocations", given)[1]["generated_text"], plain)

    def test_tables(self):
        """CSV, and LMI's ways to name the model beside the body."""
        def ask(body, path="/invocations", **headers):
            status, _, data = self.server.ask("POST", path, body, {"Content-Type": "text/csv", **headers})
            return status, json.loads(data)

        plain = self.server.complete(prompt=["ROMEO:", 'a "b",\nc'], max_tokens=30)["choices"]
        expected = [{"generated_text": choice["text"]} for choice in plain]
        for body in (b'inputs\nROMEO:\n"a ""b"",\nc"\n', b'x,inputs,"y"\r\n1,ROMEO:,2\r\n,"a ""b"",\nc",""'):
            self.assertEqual(ask(body), (200, expected))
        for body, pattern in ((b"", "first row of names"), (b"a,b\n1,2", "one of them inputs"), (b"inputs", "rows of texts"),
                              (b"inputs,x\na", "row 2 .*malformed"), (b'inputs\nb\n"a', "row 3"), (b'inputs\n"a"b', "row 2"),
                              (b"inputs\n\0", "row 2"), (b"inputs\n" + b"a\n" * 65, "more than 64")):
            status, told = ask(body)
            self.assertEqual((status, told["code"]), (400, 400))
            self.assertRegex(told["message"], pattern)
        self.assertEqual(ask(b"inputs\nROMEO:", "/invocations?model_name=shakespeare"), (200, expected[:1]))
        for path, headers in (("/invocations?model_name=other", {}), ("/invocations", {"model_name": "other"})):
            status, told = ask(b"inputs\nROMEO:", path, **headers)
            self.assertEqual((status, told["type"]), (404, "ModelNotFoundException"))

    def test_further_parameters(self):
        given = {"max_new_tokens": 12, "output_formatter": "json_chat", "num_return_sequences": 1, "length_penalty": 1.0,
                 "early_stopping": False, "num_beams": 1, "typical_p": 1.0}
        whole = self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": given})[1]["generated_text"]
        told = self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": {**given, "stop": [whole[6:10]]}})
        self.assertEqual(told, (200, {"generated_text": whole[:6]}))
        drawn = [self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": {"do_sample": True, name: 5}})
                 for name in ("seed", "manual_seed")]
        self.assertEqual(drawn[0], drawn[1])
        status, told = self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": {"num_beams": 2}})
        self.assertEqual((status, told), (400, {"code": 400, "type": "BadRequestException", "message": "num_beams is not supported",
                                                "error": "num_beams is not supported"}))

    def test_invocation_details(self):
        given = {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 9, "details": True}}
        _, told = self.server.post("/invocations", given)
        details = told["details"]
        self.assertEqual((sorted(told), sorted(details)), (["details", "generated_text"],
                         ["finish_reason", "generated_tokens", "inputs", "tokens"]))
        self.assertEqual((details["finish_reason"], details["generated_tokens"], details["inputs"]), ("length", 9, "ROMEO:"))
        self.assertEqual("".join(token.get("text", "") for token in details["tokens"]), told["generated_text"])
        line, = self.generate(SHAKESPEARE, "--dtype", "float32", "--prompt", "ROMEO:", "--max-new-tokens", 9)
        self.assertEqual([token["id"] for token in details["tokens"]], [[i] for i in line["ids"]])
        for token, logprob in zip(details["tokens"], line["logprobs"]):
            self.assertAlmostEqual(token["log_prob"], logprob, places=4)
        stop = told["generated_text"][6:10]
        given["parameters"]["stop_sequences"] = [stop]
        ended = self.server.post("/invocations", given)[1]
        self.assertEqual(ended["details"]["finish_reason"], "stop_sequence")
        self.assertEqual(ended["generated_text"], told["generated_text"][:6])
        self.assertEqual("".join(token.get("text", "") for token in ended["details"]["tokens"]), ended["generated_text"])

    def test_invocation_streams(self):
        given = {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 20, "details": True}}
        whole = self.server.post("/invocations", given)[1]
        data, kind = self.server.stream("/invocations", {**given, "stream": True})
        self.assertEqual(kind, "application/jsonlines")
        lines = [json.loads(line) for line in data.decode().splitlines()]
        self.check_lines(lines, whole)
        data, kind = self.server.stream("/invocations", {**given, "stream": True}, {"Accept": "text/event-stream"})
        self.assertEqual(kind, "text/event-stream")
        events = data.decode().split("\n\n")
        self.assertEqual(events.pop(), "")
        self.check_lines([json.loads(event[len("data: "):]) for event in events], whole)
        data, _ = self.server.stream("/invocations", {"inputs": PROMPTS, "parameters": {"max_new_tokens": 20}, "stream": True})
        ends = {line["index"]: line["generated_text"] for line in map(json.loads, data.decode().splitlines())
                if "generated_text" in line}
        alone = self.server.post("/invocations", {"inputs": PROMPTS, "parameters": {"max_new_tokens": 20}})[1]
        self.assertEqual([ends[i] for i in range(len(PROMPTS))], [a["generated_text"] for a in alone])

    def check_lines(self, lines, whole):
        details = dict(whole["details"])
        self.assertEqual([line["token"] for line in lines], details.pop("tokens"))
        self.assertEqual({key: value for key, value in lines[-1].items() if key != "token"},
                         {"generated_text": whole["generated_text"], "details": details})
        for line in lines[:-1]:
            self.assertEqual(list(line), ["token"])

    def test_request_ids(self):
        _, headers, _ = self.server.ask("GET", "/health", headers={"X-Request-Id": "my-id_1.2"})
        self.assertEqual(headers["X-Request-Id"], "my-id_1.2")
        for bad in ("x" * 64, "a b", 'a"b'):
            _, headers, _ = self.server.ask("GET", "/health", headers={"X-Request-Id": bad})
            self.assertRegex(headers["X-Request-Id"], r"^[0-9a-f]{32}$")
        _, headers, data = self.server.ask("POST", "/v1/completions", json.dumps({"prompt": "The", "max_tokens": 1}).encode(),
                                           {**JSON, "X-Request-Id": "mine"})
        self.assertEqual(json.loads(data)["id"], "cmpl-mine")
        self.server.wait_for('"id":"mine"')
        line, = [line for line in self.server.requests_logged() if line["id"] == "mine"]
        self.assertEqual((line["route"], line["status"], line["prompt_tokens"], line["generated_tokens"]),
                         ("/v1/completions", 200, 1, 1))

    def test_metrics(self):
        before = {name: self.server.metric(name) for name in ("prompt_tokens_total", "generation_tokens_total",
                                                               "time_to_first_token_seconds_count")}
        self.server.complete(prompt=["The", "ROMEO:"], max_tokens=7)
        self.server.wait_idle()
        after = {name: self.server.metric(name) - value for name, value in before.items()}
        self.assertEqual(after, {"prompt_tokens_total": 3, "generation_tokens_total": 14, "time_to_first_token_seconds_count": 2})
        text = self.server.get("/metrics")[2].decode()
        for name in ("request_success_total{finished_reason=\"length\"}", "http_requests_total{route=\"/metrics\",code=\"200\"}",
                     "inter_token_latency_seconds_bucket{le=\"+Inf\"}", "e2e_request_latency_seconds_sum", "ready",
                     *(f"step_host_seconds_total{{stage=\"{stage}\"}}" for stage in ("admit", "plan", "commit", "hand_out"))):
            self.assertRegex(text, "(?m)^tessera_" + name.replace("{", r"\{").replace("+", r"\+") + r" [0-9.e+-]+$")
        told = set(re.findall(r"(?m)^(tessera_\w+)", text))
        for path in (ROOT / "examples/serve/grafana.json", ROOT / "examples/serve/prometheus.yml"):
            asked = set(re.findall(r"\btessera_\w+", path.read_text()))
            self.assertEqual(asked - told, set(), path)
        self.assertIn("tessera_kv_cache_usage_perc", (ROOT / "examples/serve/grafana.json").read_text())
        section = (ROOT / "docs/serving.md").read_text().split("Metrics begin with `tessera_`:")[1].split("\n\n")[0]
        for name in re.findall(r"`(\w+)", section):
            self.assertIn(f"# TYPE tessera_{name} ", text)
        for line in text.splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) tessera_\w+ .*|tessera_\w+(\{.*\})? [0-9.e+-]+)$")
        for name in ("http_cpu_seconds_total", "kv_cache_pages_touched"):
            self.assertGreater(self.server.metric(name), 0)


class Together(Served):
    """Many clients at once get what each gets alone, and on other ranks."""
    bodies = [{"prompt": prompt, "max_tokens": 20 + 7 * i, "temperature": 0.8 * (i % 2), "seed": i,
               "frequency_penalty": 0.5 * (i % 4 in (1, 2)), "presence_penalty": -0.1 * (i % 4 in (1, 2)),
               "logit_bias": {i + 7 * k: (-1) ** k * 1.5 for k in range(40 * (i % 4 > 1))}}
              for i, prompt in enumerate(PROMPTS * 3)]
    known = []  # what they got on one rank

    def texts(self, body):
        return [choice["text"] for choice in self.server.complete(**body)["choices"]]

    def streamed(self, body):
        return ["".join(event["choices"][0]["text"] for event in self.server.events(body))]

    def test_many_at_once(self):
        bodies = self.bodies[::3] if support.SANITIZED else self.bodies
        alone = [self.texts(body) for body in bodies]
        self.assertGreater(len({text for text, in alone}), 5)
        if self.known:
            self.assertEqual(alone, self.known)
        self.known[:] = alone
        together = at_once([lambda b=body: self.texts(b) for body in bodies])
        self.assertEqual(together, alone)
        together = at_once([lambda b=body: self.streamed(b) for body in bodies])
        self.assertEqual(together, alone)
        self.assertFalse(any(self.server.wait_idle().values()))

    def told(self, prompt, **how):
        """(text, tokens of the prompt that were cached, tokens that the metrics call hits) of one answer."""
        before = [self.server.metric(f"prefix_cache_{name}_total") for name in ("queries", "hits")]
        answer = self.server.complete(prompt=prompt, max_tokens=60, **how)
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertEqual(answer["usage"], usage(len(prompt), 60, cached))
        self.server.wait_idle()
        queries, hits = (self.server.metric(f"prefix_cache_{name}_total") - old for name, old in zip(("queries", "hits"), before))
        self.assertEqual((queries, hits), (len(prompt), cached))
        return answer["choices"][0]["text"], cached

    def test_prompts_are_kept(self):
        first, second, penalized = talk()
        self.assertGreater(len(first["prompt_ids"]), 64)
        whole = (len(first["prompt_ids"]) - 1) // 32 * 32
        self.assertEqual([self.told(first["prompt_ids"]) for _ in range(2)], [(first["text"], 0), (first["text"], whole)])
        said = (len(first["prompt_ids"]) + 59) // 32 * 32  # the last token of an answer is not read by the model
        self.assertGreater(said, whole)
        self.assertEqual(self.told(second["prompt_ids"]), (second["text"], said))
        how = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}
        again = (len(second["prompt_ids"]) - 1) // 32 * 32
        self.assertEqual(self.told(second["prompt_ids"], **how), (penalized["text"], again))
        three = self.server.complete(prompt=[second["prompt_ids"]] * 3, max_tokens=60)
        self.assertEqual([choice["text"] for choice in three["choices"]], [second["text"]] * 3)
        self.assertEqual(three["usage"], usage(3 * len(second["prompt_ids"]), 180, 3 * again))
        self.assertFalse(any(self.server.wait_idle().values()))


@functools.lru_cache
def talk():
    """A prompt and its answer, the next turn with its answer, and that one by other rules: nothing kept in between."""
    def answer(option, text, *how):
        result = run("generate", "--model", SHAKESPEARE, "--json", "--quiet", "--dtype", "float32", "--prefix-cache", "false",
                     "--max-new-tokens", 60, option, text, *how)
        assert result.code == 0, result
        return result.lines()[0]

    first = answer("--prompt", PROMPTS[2] + "\nSecond Citizen:\n" + 3 * "We will not be hungry any longer. " + "\n\nFirst Citizen:\n")
    ids = ",".join(map(str, first["prompt_ids"] + first["ids"] + first["prompt_ids"][:9]))
    return first, answer("--ids", ids), answer("--ids", ids, "--repetition-penalty", 1.3, "--no-repeat-ngram", 3)


@needs_ranks
class TogetherOnTwoRanks(Together):
    """Started as a container does it, from its variables, and ended so."""
    ranks = 2

    @classmethod
    def setUpClass(cls):
        path = f"{pathlib.Path(support.PROGRAM).parent}:{support.ENVIRONMENT['PATH']}"
        cls.how = {"entry": ROOT / "examples/serve/container_entry.sh",
                   "env": {"PATH": path, "TENSOR_PARALLEL_DEGREE": "2"}}
        super().setUpClass()

    @classmethod
    def end(cls):
        cls.server.stop(signal.SIGTERM)
        super().end()

    def test_ranks(self):
        self.assertRegex(self.server.get("/metrics")[2].decode(), r'(?m)^tessera_build_info\{.*ranks="2"')

    def test_as_on_one(self):
        answer = self.server.complete(prompt=PROMPTS, max_tokens=30)
        lines = self.generate(SHAKESPEARE, "--dtype", "float32", "--max-new-tokens", 30,
                              *(x for p in PROMPTS for x in ("--prompt", p)))
        self.assertEqual([choice["text"] for choice in answer["choices"]], [line["text"] for line in lines])

    def test_load(self):
        if support.SANITIZED:
            self.skipTest("it is measured")
        load = subprocess.run([sys.executable, ROOT / "examples" / "bench" / "load_server.py", "--clients", "6", "--seconds", "1",
                               "--warm-up", "0.1", "--prompts", "4", "--longest", "60", "--new-tokens", "20", "--no-fill",
                               "--url", f"http://127.0.0.1:{self.server.port}", "--pid", str(self.server.process.pid)],
                              stdout=subprocess.PIPE, check=False)  # whether the times are good is not looked at here
        told = json.loads(load.stdout)
        self.assertEqual((told["errors"], told["unlike_alone"], told["memory"]["ranks"]), (0, 0, 2), told)
        self.assertEqual((told["prompt_tokens"]["least"], told["prompt_tokens"]["most"]), (20, 60))
        self.assertGreater(told["events"], 50)
        self.assertEqual(sorted(told["bars"]), ["errors", "memory_line_percent", "memory_range_percent", "overhead_percent",
                                                "p95_to_p50", "unlike_alone"])


TEMPLATE = """\
{% for m in messages %}{{ (shout or m.role) | upper }}:
{{ m.content or raise_exception('nothing was said') }}

{% endfor %}{% if add_generation_prompt %}ROMEO:
{% endif %}"""


class Chats(Served):
    talk = [{"role": "juliet", "content": "Who is there?"}]
    prompt = "JULIET:\nWho is there?\n\nROMEO:\n"
    path = "/v1/chat/completions"

    @classmethod
    def setUpClass(cls):
        template = TempFolder(cls).path / "chat.jinja"
        template.write_text(TEMPLATE)
        cls.options = ("--chat-template", template)
        super().setUpClass()

    def chat(self, **body):
        status, answer = self.server.post(self.path, {"messages": self.talk, "temperature": 0, **body})
        self.assertEqual(status, 200, answer)
        return answer

    def expected(self, **body):
        return self.server.complete(prompt=self.prompt, **body)

    def test_chat(self):
        text = self.expected(max_tokens=25)["choices"][0]["text"]
        answer = self.chat(max_tokens=25, model="shakespeare")
        self.assertRegex(answer.pop("id"), r"^chatcmpl-[0-9a-f]{32}$")
        self.assertGreater(answer.pop("created"), 1.7e9)
        counted = answer.pop("usage")
        self.assertEqual(len(answer.pop("timing")), 3)
        self.assertEqual(counted, usage(counted["prompt_tokens"], 25))
        self.assertEqual(answer, {"object": "chat.completion", "model": "shakespeare", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": text, "refusal": None}, "logprobs": None,
             "finish_reason": "length"}]})
        self.assertEqual(self.chat(max_completion_tokens=25)["choices"], answer["choices"])
        self.assertEqual(self.chat(max_tokens=25, stop=text[10:15])["choices"][0]["message"]["content"], text[:10])
        parts = [{"role": "juliet", "content": [{"type": "text", "text": "Who is "}, {"type": "text", "text": "there?"}]}]
        self.assertEqual(self.chat(messages=parts, max_tokens=25)["choices"], answer["choices"])
        loud = self.chat(messages=[{"role": "x", "content": "Who is there?"}], max_tokens=25,
                         chat_template_kwargs={"shout": "juliet"})
        self.assertEqual(loud["choices"], answer["choices"])
        self.assertEqual(self.chat(stop="\n\n")["choices"][0]["finish_reason"], "stop")

    def test_the_next_turn(self):
        told = 6 * "But soft, what light through yonder window breaks? "
        first = self.chat(messages=[{"role": "juliet", "content": told}], max_tokens=20)
        talk = [{"role": "juliet", "content": told}, {"role": "romeo", "content": first["choices"][0]["message"]["content"]},
                {"role": "juliet", "content": "Speak again!"}]
        second = self.chat(messages=talk, max_tokens=20)["usage"]
        given = first["usage"]["prompt_tokens"]
        self.assertEqual(first["usage"], usage(given, 20))
        self.assertEqual(second, usage(second["prompt_tokens"], 20, second["prompt_tokens_details"]["cached_tokens"]))
        self.assertGreaterEqual(second["prompt_tokens_details"]["cached_tokens"], given // 32 * 32)
        self.assertGreater(given, 64)

    def test_chat_logprobs(self):
        plain = self.expected(max_tokens=9, logprobs=2)["choices"][0]["logprobs"]
        rows = self.chat(max_tokens=9, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
        self.assertEqual([row["token"] for row in rows], plain["tokens"])
        self.assertEqual([row["logprob"] for row in rows], plain["token_logprobs"])
        self.assertEqual([{best["token"]: best["logprob"] for best in row["top_logprobs"]} for row in rows],
                         plain["top_logprobs"])
        for row in rows:
            self.assertEqual(bytes(row["bytes"]).decode(), row["token"])
        self.assertEqual(self.chat(max_tokens=1, logprobs=True)["choices"][0]["logprobs"]["content"][0]["top_logprobs"], [])

    def check_chunks(self, chunks, text):
        self.assertEqual({chunk["object"] for chunk in chunks}, {"chat.completion.chunk"})
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        self.assertEqual([delta.get("role") for delta in deltas], ["assistant"] + [None] * (len(deltas) - 1))
        self.assertEqual("".join(delta.get("content", "") for delta in deltas), text)
        self.assertEqual([chunk["choices"][0]["finish_reason"] for chunk in chunks], [None] * (len(chunks) - 1) + ["length"])

    def test_chat_streams(self):
        text = self.expected(max_tokens=40)["choices"][0]["text"]
        body = {"messages": self.talk, "temperature": 0, "max_tokens": 40, "stream": True}
        data, kind = self.server.stream(self.path, {**body, "stream_options": {"include_usage": True}})
        self.assertEqual(kind, "text/event-stream")
        *chunks, last = parse_events(data)
        self.check_chunks(chunks, text)
        self.assertEqual((last["choices"], last["usage"]["completion_tokens"]), ([], 40))
        data, kind = self.server.stream("/invocations", body)
        self.assertEqual(kind, "application/jsonlines")
        self.check_chunks([json.loads(line) for line in data.decode().splitlines()], text)

    def test_chat_by_invocation(self):
        told = self.server.post("/invocations", {"messages": self.talk, "temperature": 0, "max_tokens": 5, "model": "any"})[1]
        self.assertEqual((told["object"], told["choices"]), ("chat.completion", self.chat(max_tokens=5)["choices"]))

    def test_refused_by_the_template(self):
        status, told = self.server.post(self.path, {"messages": [{"role": "x", "content": ""}]})
        self.assertEqual((status, told["error"]["param"]), (400, "messages"))
        self.assertRegex(told["error"]["message"], "nothing was said")


class ArraysAlways(Served):
    options = ("--rolling-batch", "disable", "--batch-size", 2, "--served-model-name", "bard")

    def test_without_rolling_batches(self):
        status, told = self.server.post("/invocations", {"inputs": "ROMEO:", "parameters": {"max_new_tokens": 5}})
        self.assertEqual((status, len(told), sorted(told[0])), (200, 1, ["generated_text"]))
        self.assertTrue(told[0]["generated_text"].startswith("ROMEO:"))
        given = {"inputs": ["ROMEO:", "The"], "parameters": {"max_new_tokens": 9, "return_full_text": False}}
        whole = [one["generated_text"] for one in self.server.post("/invocations", given)[1]]
        data, kind = self.server.stream("/invocations", {**given, "stream": True})
        lines = [json.loads(line) for line in data.decode().splitlines()]
        self.assertEqual((kind, [list(line) for line in lines]), ("application/jsonlines", [["outputs"]] * 9))
        self.assertEqual(["".join(texts) for texts in zip(*(line["outputs"] for line in lines))], whole)
        # Answers of different lengths: what has ended adds nothing.
        stop = whole[0][4:8]
        data, _ = self.server.stream("/invocations", {**given, "stream": True, "parameters": {"max_new_tokens": 9, "stop": stop}})
        texts = ["".join(texts) for texts in zip(*(json.loads(line)["outputs"] for line in data.decode().splitlines()))]
        self.assertEqual(texts, [text.split(stop)[0] for text in whole])
        given["parameters"]["output_formatter"] = "jsonlines"
        data, _ = self.server.stream("/invocations", {**given, "stream": True})
        self.assertIn("token", json.loads(data.splitlines()[0]))
        self.assertEqual(json.loads(self.server.get("/ping")[2]), {"bard": {"status": "Healthy"}})
        self.assertEqual(self.server.post("/v1/completions", {"model": "bard", "prompt": "The"})[0], 200)


if __name__ == "__main__":
    main()
