#!/usr/bin/env python3
"""make_cases.py: what Python's jinja2 makes of cases.py and chats.py: cases.json and chats.json, which test_template.c reads.

Needs the package jinja2 (3.1); made with 3.1.6. The environment is the one that chat templates are rendered in: the
immutable sandbox, trim_blocks, lstrip_blocks, loop controls, `generation`, and tojson without HTML escapes.
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.sandbox

import cases
import chats

NOW = 1722600000  # 2024-08-02 12:00:00 UTC
HERE = pathlib.Path(__file__).parent


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

    def _same(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                       extensions=[Generation, jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)

    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)
    return env


def render(env, template, variables):
    """{"output": ..} or {"error": "load" or "run"}."""
    try:
        made = env.from_string(template)
    except (jinja2.exceptions.TemplateError, SyntaxError):
        return {"error": "load"}
    try:
        return {"output": made.render(**variables)}
    except Exception:
        return {"error": "run"}


def write(name, content):
    (HERE / name).write_text(json.dumps(content, ensure_ascii=False, indent=0) + "\n")


def main():
    env = environment()
    rows = [row if isinstance(row, tuple) else (row, {}) for row in cases.CASES]
    told = [{"template": t, **({"variables": v} if v else {}), **render(env, t, {**cases.COMMON, **v})} for t, v in rows]
    write("cases.json", {"now": NOW, "common": cases.COMMON, "cases": told})
    told = [{"name": name, "conversation": c, **render(env, template, chats.CONVERSATIONS[c])}
            for name, template in chats.TEMPLATES.items() for c in chats.CONVERSATIONS]
    write("chats.json", {"now": NOW, "conversations": chats.CONVERSATIONS, "cases": told})


if __name__ == "__main__":
    main()
