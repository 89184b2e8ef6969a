"""Patterns and texts on which our regular expressions are compared with the reference's (regexes.json)."""
import json

from tokenizers import Regex, pre_tokenizers

PATTERNS = [
    # As they stand in tokenizers.
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r" ?[^(\s|[.,!?…。，、।۔،])]+",
    r"[0-9][0-9][0-9]",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*",
    r"[\p{L}\p{M}&&[^\p{Han}]]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\s+$|^\s+", r"\p{Han}+|\p{Hiragana}+|\p{Katakana}+|\p{Hangul}+|\p{Thai}+|\p{Arabic}+",
    # Where Oniguruma and PCRE2 differ.
    r"\s", r"\S+", r"\w+", r"\W+", r"\d+", r"\D+", r"\h+", r"\H+", r"[\w]+", r"[^\w]+", r"[\W]+", r"[\S]+", r"[^\S]+", r"[^\S\n]+",
    r"[\s\S]", r"[\d\-]+", r"[\h]+", r"\v", r"\bw", r"\w\b", r"\B.", r".", r".+", r"(?m).+", r"(?m:.)+", r"^.", r".$", r"^", r"$",
    r"\A.", r".\z", r".\Z", r"\R", r"\X", r"\N+", r"\O", r"[[:punct:]]+", r"[[:alpha:]]+", r"[[:^alpha:]]+", r"[[:space:]]",
    r"[[:digit:][:upper:]]+", r"[[:word:]]+", r"[[:alnum:]]+", r"[[:xdigit:]]+", r"[[:blank:]]+", r"[[:cntrl:]]", r"[[:lower:]]+",
    r"\p{^L}+", r"\P{L}+", r"[\P{L}]+", r"[^\P{L}]+", r"[\P{L}a]+", r"[\p{^L}b]", r"\p{Letter}+", r"\p{Lu}\p{Ll}*", r"\p{Lowercase_Letter}+",
    r"\p{Punct}+", r"\p{Alnum}+", r"\p{Alphabetic}+", r"\p{Sc}", r"\p{S}+", r"\p{P}+", r"\p{Z}+", r"\p{Cc}", r"\p{Cf}", r"\p{M}+",
    r"[a-c[x-z]]+", r"[a-z&&[aeiou]]+", r"[a-z&&[^aeiou]]+", r"[^a-z&&[aeiou]]+", r"[\w&&[^\d]]+", r"[a&&b]", r"[a-z&&b-y&&[^m]]+",
    r"[]a]+", r"[^]a]+", r"[a\]b]+", r"[a-]+", r"[-a]+", r"[a\-c]+", r"[\^a]+", r"[a^]+", r"[.*+?(){}|$]+", r"[\\/]+", r"[\n\t]+", r"[\x41-\x43]+",
    r"\x41", r"[\x{4e00}-\x{9fff}]+", r"\x{1F600}", r"\u4e16", r"[\u3040-\u30ff]+", r"\t", r"\101", r"\/", r"\"", r"\'", r"\-", r"\ ",
    r"a{2}", r"a{2,}", r"a{,2}", r"a{1,2}", r"a{1,2}+", r"\p{N}{1,2}+", r"a{", r"a{x}", r"{", r"}", r"]", r"a{1,2}?", r"a++", r"a*+b", r"a?+", r"a+?", r"a*?b",
    r"(?i)hello", r"(?i:h)ello", r"h(?i)e|w", r"x(?i)a|b", r"(x(?i)a|b)c", r"(?i)[a-c]+", r"(?i:'S)", r"(?i)k", r"(?-i:a)", r"(?im:a.b)",
    r"(a)(b)?", r"(?:ab)+", r"(?<n>a)b", r"(?=a)", r"(?!a).", r"(?<=a)b", r"(?<!a)b", r"(?>a+)b", r"(?#note)a", r"a|", r"|a", r"a*", r"x*",
    r"(?<=\s)\w+", r"\s+(?=\S)", r"(\w)\1", r"a\Kb", r"(?:\r\n|\n)", r"\G.", r" {2,}", r"[ ]{2,}|\t", r"(?:[sdmt]|ll|ve|re)",
]
TEXTS = [
    "Hello, World! it's 2024; I'LL say \"x_y\" (a-b) [c] {d} <e> 50% $3 €4 #5 @6 ^7 &8 *9 ~ ` | \\ /",
    "aaabab aab b ab\nhello HELLO Hello\r\n\r\n  world\tx\n", "  two  spaces \t\n\n end ", "12345 1 22 ٣٤ ५ Ⅷ ½ ² 10a b2c",
    "'s 'T 're 'VE 'ſ ’s it's IT'S", "世界 こんにちは カタカナ 안녕 สวัสดี مرحبا שלום Привет Ελληνικά", "e\u0301 \u0301 a\u0300\u0323 k\u212a \u00df \u1e9e ss SS ſ",
    "\u00a0\u2003\u3000\u200b\u180e\u0085\u2028 x \u000b\u000c\u001c", "。，、．！？…।۔،؛؟«»‹›„“”", "👋🏽 👨‍👩‍👧 🇩🇪 ❤️ ☺ → ∑ ± © ™ ˆ ˜ ¨", "ⓐⒶ🅰 _‿⁀ \u200c\u200d ᾳ ǅ ª º",
    "\U0002ebf0\U00031350\U000323af a\u1c89b \U00016d40 \U00010d40 \U0001fae9", "x]y^z-a\\b.c*d+e?f(g)h{i}j|k$l", "", "\n", "a", "\u0000\u0001a\u007f", "AbcDEfgHI jKl mNOP",
    "def f(a, b):\n    return a  +  b\n", "a{x} a{ {1} }", "x a b XA xB xbc xAc bc",
]


def matches(pattern, text):
    """The matches that are not empty, as byte ranges."""
    if not text:
        return []
    pieces = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(text)
    offset = [len(text[:i].encode()) for i in range(len(text) + 1)]
    return [[offset[b], offset[e]] for _, (b, e) in pieces]


def make():
    return json.dumps({"texts": TEXTS, "patterns": [{"pattern": p, "matches": [matches(p, t) for t in TEXTS]} for p in PATTERNS]},
                      ensure_ascii=True, separators=(",", ":"))
