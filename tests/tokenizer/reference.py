"""What the reference libraries say about a tokenizer, and the file in which a test reads it (test_tokenizer_reference.c).

corpus.bin:    for each string: length, bytes.
expected.bin:  for each string of the corpus: the ids with special tokens; the ids without, as (0, front, back) if they
               are those with `front` and `back` ids less, else (1, ids); their text without special tokens, compared
               to the string (with invalid bytes replaced); their text with special tokens, compared to the one without.
               Then the number of lists of random ids; for each: ids, text without special tokens, compared to nothing,
               text with special tokens, compared to the one without.
A text compared to another: 0 if they are the same; 1 if the other stands in it, then what is before and behind (each:
length, bytes); 2 otherwise, then the text (length, bytes). Numbers are LEB128, ids are a count and differences, zigzag. A corpus begins
with "TSRC" and the number of strings; expected.bin with "TSRT", 1 if the reference cannot show special tokens, else 0,
and the number of strings.
"""
import base64
import random
import re
import unicodedata


def number(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def id_list(ids):
    out, last = [number(len(ids))], 0
    for i in ids:
        d = i - last
        out.append(number(d * 2 if d >= 0 else -d * 2 - 1))
        last = i
    return b"".join(out)


def data(b):
    return number(len(b)) + b


def compared(text, other):
    if text == other:
        return number(0)
    if len(other) > 0 and other in text:
        at = text.index(other)
        return number(1) + data(text[:at]) + data(text[at + len(other):])
    return number(2) + data(text)


def bare(full, plain):
    for front in range(3):
        back = len(full) - len(plain) - front
        if 0 <= back < 3 and full[front:len(full) - back] == plain:
            return number(0) + number(front) + number(back)
    return number(1) + id_list(plain)


class Tokenizers:
    """A tokenizer of the package `tokenizers`."""

    def __init__(self, tokenizer, strip_last_blank=False):
        self.t = tokenizer
        self.strip_last_blank = strip_last_blank  # what CLIP's own class does to decoded text
        self.size = max(tokenizer.get_vocab().values()) + 1

    def encode(self, text, special):
        return self.t.encode(text, add_special_tokens=special).ids

    def decode(self, ids, skip):
        text = self.t.decode(ids, skip_special_tokens=skip) if ids else ""
        return text[:-1] if self.strip_last_blank and text.endswith(" ") else text

    skip_only = False


class SentencePiece:
    """A model of the package `sentencepiece`, used as Llama uses it: bos in front."""

    def __init__(self, path, bos=True):
        import sentencepiece
        self.p = sentencepiece.SentencePieceProcessor(model_file=path)
        self.size = self.p.get_piece_size()
        self.bos = bos

    def encode(self, text, special):
        return ([self.p.bos_id()] if special and self.bos else []) + self.p.encode(text)

    def decode(self, ids, skip):
        return self.p.decode(ids)

    skip_only = True  # it has no way to show control tokens


class Ranks:
    """A file of ranks, used by the package `tiktoken` with a family's pattern and special tokens."""

    def __init__(self, path, pattern, special, front=(), whole_nfc=False):
        import tiktoken
        with open(path, "rb") as f:
            lines = [line.split() for line in f.read().splitlines() if line]
        ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
        start = max(ranks.values()) + 1
        self.special = {name: start + i for i, name in enumerate(special)}
        self.e = tiktoken.Encoding("ranks", pat_str=pattern, mergeable_ranks=ranks, special_tokens=self.special)
        self.bytes = {**{i: b for b, i in ranks.items()}, **{i: name.encode() for name, i in self.special.items()}}
        self.size, self.front, self.whole_nfc = start + len(special), [self.special[name] for name in front], whole_nfc

    def encode(self, text, special):
        text = unicodedata.normalize("NFC", text) if self.whole_nfc else text
        return (self.front if special else []) + self.e.encode(text, allowed_special="all", disallowed_special=())

    def decode(self, ids, skip):
        hidden = self.special.values() if skip else ()
        return b"".join(self.bytes.get(i, b"") for i in ids if i not in hidden).decode("utf-8", "replace")

    skip_only = False


class FamilySentencePiece:
    """A SentencePiece model as a class of transformers uses it: special tokens are cut out of the text, the rest is
    encoded part by part, and ids are mapped. Text is decoded as the package does it, without special tokens."""

    skip_only = True

    def __init__(self, path, to_id=lambda i: i, special=None, front=(), back=(), before=str, after=str,
                 alone=()):
        import sentencepiece
        self.p = sentencepiece.SentencePieceProcessor(model_file=path)
        self.to_id = {i: to_id(i) for i in range(self.p.get_piece_size())}
        self.to_piece = {v: k for k, v in self.to_id.items()}
        self.special, self.front, self.back = special or {}, list(front), list(back)
        self.before, self.after, self.alone = before, after, alone
        self.size = max(self.to_id.values()) + 1
        names = sorted(self.special, key=len, reverse=True)
        self.cut = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None

    def encode(self, text, special):
        ids = []
        for part, is_special in self.parts(text):
            if is_special:
                ids.append(self.special[part])
            elif part:
                ids += [self.to_id[i] for i in self.p.encode(self.before(part))]
        return self.front + ids + self.back if special else ids

    def parts(self, text):
        """The text cut at special tokens; one that must stand alone counts with blanks around it only."""
        parts = self.cut.split(text) if self.cut else [text]
        out, at = [("", False)], 0
        for part in parts:
            near = text[max(at - 1, 0):at] + text[at + len(part):at + len(part) + 1]
            at += len(part)
            if part in self.special and not (part in self.alone and near.strip(" ")):
                out += [(part, True), ("", False)]
            else:
                out[-1] = (out[-1][0] + part, False)
        return out

    def decode(self, ids, skip):
        pieces = [self.to_piece[i] for i in ids if i in self.to_piece and i not in self.special.values()]
        return self.after(self.p.decode(pieces))


def expected(reference, corpus, random_lists=150, seed=7):
    r = random.Random(seed)
    out = [b"TSRT", number(int(reference.skip_only)), number(len(corpus))]
    for string in corpus:
        text = string.decode("utf-8", "replace")
        full, plain = reference.encode(text, True), reference.encode(text, False)
        without = reference.decode(full, True).encode()
        shown = without if reference.skip_only else reference.decode(full, False).encode()
        out += [id_list(full), bare(full, plain), compared(without, text.encode()), compared(shown, without)]
    out.append(number(random_lists))
    for i in range(random_lists):
        top = reference.size + (0 if reference.skip_only else 3)
        low = r.choice([0, 0, 0, 200])
        ids = [r.randrange(r.choice([min(low, top - 1), 0]), r.choice([top, min(top, 300)])) for _ in range(r.randrange(1, 30))]
        without = reference.decode(ids, True).encode()
        shown = without if reference.skip_only else reference.decode(ids, False).encode()
        out += [id_list(ids), compared(without, b""), compared(shown, without)]
    return b"".join(out)


def write_corpus(path, corpus):
    with open(path, "wb") as f:
        f.write(b"TSRC" + number(len(corpus)) + b"".join(data(s) for s in corpus))


def write_expected(path, reference, corpus):
    with open(path, "wb") as f:
        f.write(expected(reference, corpus))
