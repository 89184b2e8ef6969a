#!/usr/bin/env python3
"""Writes runtime/tokenizer/unicode_changes.inc: what Unicode changed after version 9.

The reference tokenizer (Python package `tokenizers`) answers each question with the Unicode tables of one of its
libraries, and these are of different ages: normalization knows version 9, punctuation version 8, regular expressions
version 16, letter case version 17. The system's libraries (utf8proc, PCRE2) know one version each, another one on
another system. The table lets us answer as the reference does, wherever we run.

Sources: general categories of version 9 from Python 3.6 (unicodedata 9.0), ages up to 14 from perl, categories of
versions 15 and 16 from the reference's own regular expressions, numbers of version 17 from its Digits splitter.

    make_unicode.py PYTHON36 > runtime/tokenizer/unicode_changes.inc        (needs: tokenizers, perl 5.36)
"""
import subprocess
import sys

from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
POINTS = [u for u in range(1, 0x110000) if not 0xD800 <= u < 0xE000]


def categories_now():
    text, out = "".join(map(chr, POINTS)), {}
    for category in CATEGORIES:
        rest = normalizers.Replace(Regex(r"\p{%s}" % category), "").normalize_str(text)
        for u in set(POINTS) - set(map(ord, rest)):
            out[u] = category
    digits = pre_tokenizers.Digits(True)
    for u in POINTS:
        if u not in out and len(digits.pre_tokenize_str("a" + chr(u) + "b")) == 3:
            out[u] = "17"
    return out


def categories_then(python36):
    code = ("import unicodedata as d\nassert d.unidata_version == '9.0.0'\n"
            "for u in range(1, 0x110000):\n    print(d.category(chr(u)))")
    lines = subprocess.run([python36, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(range(1, 0x110000), lines))


def ages():
    code = ("for my $c (1..0x10FFFF) { next if $c >= 0xD800 && $c < 0xE000; my $s = chr($c);"
            "print(($s =~ /\\p{Present_In=8.0}/ ? 8 : $s =~ /\\p{Present_In=9.0}/ ? 9 :"
            " $s =~ /\\p{Present_In=14.0}/ ? 10 : 15), \"\\n\"); }")
    lines = subprocess.run(["perl", "-e", code], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(POINTS, map(int, lines)))


def main():
    now, then, age, rows = categories_now(), categories_then(sys.argv[1]), ages(), []
    for u in POINTS:
        n, t, a = now.get(u, "Cn"), then[u], age[u]
        if n == "17":
            n, a = "Nd" if u < 0x16000 else "No", 17
        if n == t and a != 9 or n == "Cn":
            continue
        if rows and rows[-1][1] == u - 1 and rows[-1][2:] == [n, t, a]:
            rows[-1][1] = u
        else:
            rows.append([u, u, n, t, a])
    print("/* Made by tests/tokenizer/make_unicode.py; do not edit. {first, last, category now, category in version 9, since} */")
    line = ""
    for r in rows:
        item = "{0x%04X, 0x%04X, C(%s), C(%s), %d}," % tuple(r)
        if len(line) + len(item) > 108:
            print(line.rstrip())
            line = ""
        line += item + " "
    print(line.rstrip())


main()
