#!/usr/bin/env python3
"""Makes the tokenizers of this directory, small ones of each family, and what the reference says about them.

    make_data.py ENGLISH.txt                  rewrites corpus.bin, regexes.json and NAME/ for every family (needs:
                                              tokenizers 0.23, sentencepiece 0.2)
    make_data.py --compare ENGLISH.txt MODEL_DIR OUT_DIR [STRINGS]
                                              for a tokenizer from elsewhere (tokenizer.json or tokenizer.model): copies
                                              it to OUT_DIR with a corpus of its own and what the reference says; then
                                              TSR_TOKENIZER_CASES=OUT_DIR test_tokenizer_reference
ENGLISH.txt: any longer English text in the public domain; ours is Shakespeare's plays.
"""
import io
import json
import os
import shutil
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import reference
import regexes
import strings

HERE = os.path.dirname(os.path.abspath(__file__))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CLIP = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
KIMI_HAN = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"


def special(text, **flags):
    return AddedToken(text, special=True, normalized=False, **flags)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(regex=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def train(t, texts, size, **options):
    if t.pre_tokenizer is not None and options.pop("bytes", True):
        options.setdefault("initial_alphabet", sorted(pre_tokenizers.ByteLevel.alphabet()))
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, min_frequency=2, **options))
    return t


def byte_bpe(texts, size, pre, normalizer=None, decoder=None, post=None, tokens=(), model=None, **options):
    t = Tokenizer(model or models.BPE())
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoder or decoders.ByteLevel()
    train(t, texts, size, special_tokens=options.pop("first", []), **options)
    t.add_tokens(list(tokens))
    if post:
        t.post_processor = post(t)
    return t


def around(*names):
    """Template: names before None go in front, those after it behind."""
    def make(t):
        i = names.index(None)
        single = " ".join([*names[:i], "$A", *names[i + 1:]])
        return processors.TemplateProcessing(single=single, special_tokens=[(n, t.token_to_id(n)) for n in names if n])
    return make


def gpt2(texts):
    return byte_bpe(texts, 700, byte_level(regex=True), tokens=[special("<|endoftext|>")],
                    post=lambda t: processors.ByteLevel(trim_offsets=False))


def llama3(texts):
    t = byte_bpe(texts, 800, pre_tokenizers.Sequence([split(LLAMA3), byte_level()]), model=models.BPE(ignore_merges=True),
                 tokens=[special(s) for s in ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                                              "<|end_header_id|>", "<|eot_id|>")],
                 post=lambda t: processors.Sequence([processors.ByteLevel(trim_offsets=True),
                                                     around("<|begin_of_text|>", None)(t)]))
    return t


def qwen2(texts):
    return byte_bpe(texts, 800, pre_tokenizers.Sequence([split(QWEN2), byte_level()]), normalizer=normalizers.NFC(),
                    tokens=[special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"),
                            AddedToken("<tool>", normalized=False, special=False)],
                    post=lambda t: processors.ByteLevel(trim_offsets=False))


def falcon(texts):
    pre = pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), byte_level(regex=True),
                                   pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")])
    return byte_bpe(texts, 700, pre, tokens=[special("<|endoftext|>"), special(">>TITLE<<")])


def bloom(texts):
    return byte_bpe(texts, 700, pre_tokenizers.Sequence([split(BLOOM), byte_level()]),
                    first=["<unk>", "<s>", "</s>", "<pad>"])


def starcoder(texts):
    return byte_bpe(texts, 700, pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level(regex=True)]),
                    tokens=[special("<|endoftext|>"), special("<fim_prefix>")])


def neox(texts):
    """Runs of blanks as tokens of their own, which are not special."""
    blanks = [AddedToken(" " * n, normalized=True, special=False) for n in range(24, 1, -1)]
    return byte_bpe(texts, 600, byte_level(regex=True), normalizer=normalizers.NFC(),
                    tokens=[special("<|endoftext|>"), special("<|padding|>")] + blanks)


def roberta(texts):
    post = lambda t: processors.RobertaProcessing(("</s>", t.token_to_id("</s>")), ("<s>", t.token_to_id("<s>")))
    return byte_bpe(texts, 600, byte_level(regex=True, prefix=True), first=["<s>", "<pad>", "</s>", "<unk>"],
                    tokens=[special("<mask>", lstrip=True)], post=post)


def clip_parts(t):
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                         normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([split(CLIP, "removed", True), byte_level(regex=True)])
    t.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("</w>", " ")])


def clip(texts):
    t = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    clip_parts(t)
    train(t, texts, 900, end_of_word_suffix="</w>",
          special_tokens=["<|startoftext|>", "<|endoftext|>"] + [c + "</w>" for c in sorted(pre_tokenizers.ByteLevel.alphabet())])
    model = json.loads(t.to_str())["model"]
    t.model = models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<|endoftext|>",
                         end_of_word_suffix="</w>", continuing_subword_prefix="")
    t.post_processor = processors.RobertaProcessing(("<|endoftext|>", t.token_to_id("<|endoftext|>")),
                                                    ("<|startoftext|>", t.token_to_id("<|startoftext|>")),
                                                    trim_offsets=False, add_prefix_space=False)
    return only_added(t, ["<|startoftext|>", "<|endoftext|>"])


def only_added(t, names):
    """The trainer's special tokens without all but these."""
    j = json.loads(t.to_str())
    j["added_tokens"] = [a for a in j["added_tokens"] if a["content"] in names]
    return Tokenizer.from_str(json.dumps(j))


def openai_gpt(texts):
    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.BPEDecoder("</w>")
    return train(t, texts, 700, special_tokens=["<unk>"], end_of_word_suffix="</w>", bytes=False)


def o200k(texts):
    return byte_bpe(texts, 800, pre_tokenizers.Sequence([split(O200K), byte_level()]),
                    tokens=[special("<|endoftext|>"), special("<|im_end|>")])


def deepseek(texts):
    pre = pre_tokenizers.Sequence([split(p) for p in DEEPSEEK] + [byte_level()])
    return byte_bpe(texts, 800, pre, normalizer=normalizers.Sequence([]), tokens=[special("<s>"), special("</s>")],
                    post=around("<s>", None, "</s>"))


def kimi(texts):
    return byte_bpe(texts, 600, pre_tokenizers.Sequence([split(KIMI_HAN), byte_level()]), tokens=[special("[EOS]")])


def words_and_marks(texts):
    """Parts that BPE models seldom use: prefixes of subwords, unknown words that fuse, tokens that strip blanks."""
    t = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", fuse_unk=True))
    t.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.NFKD(), normalizers.StripAccents(),
                                         normalizers.Lowercase(), normalizers.Replace(Regex(r"[0-9]+"), "0")])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation()])
    t.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    train(t, texts, 500, special_tokens=["[UNK]"], continuing_subword_prefix="##", bytes=False, limit_alphabet=120)
    t.add_tokens([special("[CLS]"), special("[SEP]"), special("[MASK]", lstrip=True, rstrip=True),
                  AddedToken("<ent>", single_word=True, normalized=False), AddedToken("Yesterday", normalized=True),
                  AddedToken("<tool>", rstrip=True, normalized=True, special=True)])
    t.post_processor = processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]")))
    return t


def metaspace_first(texts):
    """Llama's newer form: Metaspace that writes a blank in front of the text only."""
    t = llama(texts)
    t.normalizer = None
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t = rebuild(t, normalizer=None)
    t.add_tokens([AddedToken("<ent>", lstrip=True, normalized=True), AddedToken("<tool>", normalized=False)])
    return t


def metaspace_always(texts):
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False, fuse_unk=False))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    return train(t, texts, 600, special_tokens=["<unk>", "<s>", "</s>"], bytes=False, limit_alphabet=150)


def no_decoder(texts):
    """Nothing but a model; ids with a hole."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.CharDelimiterSplit("-"),
                                               pre_tokenizers.Split("th", "merged_with_previous"),
                                               pre_tokenizers.Split("e", "merged_with_next")])
    train(t, texts, 300, bytes=False, limit_alphabet=80)
    j = json.loads(t.to_str())
    j["model"]["vocab"] = {p: i + 5 * (i > 100) for p, i in j["model"]["vocab"].items()}
    j["model"]["merges"] = [" ".join(m) for m in j["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(j)), j


def rebuild(t, **parts):
    j = json.loads(t.to_str())
    j.update(parts)
    return Tokenizer.from_str(json.dumps(j))


def train_sentencepiece(texts, **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=out, model_type="bpe",
                                             minloglevel=2, num_threads=1, **options)
    return out.getvalue()


LLAMA_SPM = dict(vocab_size=900, byte_fallback=True, character_coverage=0.995, normalization_rule_name="identity",
                 remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True)


def llama(texts):
    """Llama's tokenizer.json, made from its SentencePiece model: merges are all ways to form a piece, by score."""
    proto = train_sentencepiece(texts, **LLAMA_SPM)
    p = sentencepiece.SentencePieceProcessor(model_proto=proto)
    vocab = {p.id_to_piece(i): i for i in range(p.get_piece_size())}
    merges = []
    for piece, i in vocab.items():
        if p.is_byte(i) or p.is_control(i) or p.is_unknown(i):
            continue
        ways = [(piece[:k], piece[k:]) for k in range(1, len(piece)) if piece[:k] in vocab and piece[k:] in vocab]
        merges += [(i, vocab[a], vocab[b], a, b) for a, b in ways]
    merges = [(a, b) for _, _, _, a, b in sorted(merges)]
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([special("<unk>"), special("<s>"), special("</s>")])
    t.post_processor = around("<s>", None)(t)
    return t


def precompiled(texts):
    """SentencePiece's rules in a tokenizer.json."""
    import base64
    from sentencepiece import sentencepiece_model_pb2
    with open("rules.tsv", "w") as f:
        f.write("".join(r + "\n" for r in RULES))
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(train_sentencepiece(texts, **SENTENCEPIECE["sentencepiece_rules"]))
    os.remove("rules.tsv")
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    j = json.loads(t.to_str())
    j["normalizer"] = {"type": "Precompiled",
                       "precompiled_charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()}
    t = Tokenizer.from_str(json.dumps(j))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    return train(t, texts, 400, special_tokens=["<unk>"], bytes=False, limit_alphabet=200)


TOKENIZERS = [gpt2, llama3, qwen2, falcon, bloom, starcoder, neox, roberta, clip, openai_gpt, o200k, deepseek, kimi,
              words_and_marks, llama, metaspace_first, metaspace_always, precompiled, no_decoder]

SENTENCEPIECE = {
    "sentencepiece_llama": LLAMA_SPM,
    "sentencepiece_plain": dict(vocab_size=700, character_coverage=0.98, normalization_rule_name="identity",
                                user_defined_symbols=["<ent>", "<tool>", "Yesterday", "  "], control_symbols=["<ctl>"]),
    "sentencepiece_rules": dict(vocab_size=600, character_coverage=0.98, normalization_rule_tsv="rules.tsv",
                                user_defined_symbols=["½"]),
    "sentencepiece_suffix": dict(vocab_size=500, character_coverage=0.98, normalization_rule_name="identity",
                                 treat_whitespace_as_suffix=True, remove_extra_whitespaces=False, byte_fallback=True),
}
# Rules for sentencepiece_rules: from, to (code points in hexadecimal).
RULES = ["FF21\t41", "FF42\t62", "AB\t22", "BB\t22", "BD\t31 2F 32", "41 30A\tC5", "65 301\tE9", "3000\t20", "9\t20",
         "A\t20", "A0\t20", "FB01\t66 69", "200B\t", "2026\t2E 2E 2E", "1F600\t3A 29"]


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))


def fresh(name):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def finish(path, t, corpus):
    reference.write_expected(os.path.join(path, "expected.bin"), t, corpus)
    print("%-24s %5d ids %8d bytes" % (os.path.basename(path), t.size, sum(f.stat().st_size for f in os.scandir(path))))


def make_tokenizers(texts, corpus):
    for make in TOKENIZERS:
        path, t = fresh(make.__name__), make(texts)
        t, value = t if isinstance(t, tuple) else (t, json.loads(t.to_str()))
        write_json(os.path.join(path, "tokenizer.json"), value)
        finish(path, reference.Tokenizers(Tokenizer.from_file(os.path.join(path, "tokenizer.json"))), corpus)


def make_sentencepiece(texts, corpus):
    for name, options in SENTENCEPIECE.items():
        path, options = fresh(name), dict(options)
        if "normalization_rule_tsv" in options:
            with open(options["normalization_rule_tsv"], "w") as f:
                f.write("".join(r + "\n" for r in RULES))
        model = os.path.join(path, "tokenizer.model")
        with open(model, "wb") as f:
            f.write(train_sentencepiece(texts, hard_vocab_limit=False, **options))
        if "normalization_rule_tsv" in options:
            os.remove(options["normalization_rule_tsv"])
        finish(path, reference.SentencePiece(model), corpus)


def make_vocab_merges(corpus):
    """vocab.json and merges.txt of tokenizers made above; the reference is put together as their family says."""
    for name, source, config in [
            ("vocab_merges_gpt2", "gpt2", None),
            ("vocab_merges_opt", "gpt2", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": True,
                                          "bos_token": "</s>", "added_tokens_decoder": {"700": {"content": "</s>", "special": True}}}),
            ("vocab_merges_qwen2", "qwen2", {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "added_tokens_decoder": {
                "800": {"content": "<|im_start|>", "special": True}, "801": {"content": "<tool>", "special": False}}}),
            ("vocab_merges_clip", "clip", {"tokenizer_class": "CLIPTokenizer"})]:
        path = fresh(name)
        with open(os.path.join(HERE, source, "tokenizer.json"), encoding="utf-8") as f:
            j = json.load(f)
        vocab, merges = j["model"]["vocab"], j["model"]["merges"]
        write_json(os.path.join(path, "vocab.json"), vocab)
        with open(os.path.join(path, "merges.txt"), "w", encoding="utf-8") as f:
            f.write("#version: 0.2\n" + "".join(a + " " + b + "\n" for a, b in merges))
        if config:
            write_json(os.path.join(path, "tokenizer_config.json"), config)
        j["added_tokens"] = []
        t = Tokenizer.from_str(json.dumps(j))
        for i, a in (config or {}).get("added_tokens_decoder", {}).items():
            assert int(i) == t.get_vocab_size()
            t.add_tokens([AddedToken(a["content"], special=a["special"], normalized=False)])
        if source == "clip":
            t.add_special_tokens([special("<|startoftext|>"), special("<|endoftext|>")])
        if name == "vocab_merges_opt":
            t.pre_tokenizer = byte_level(regex=True, prefix=True)
            t.post_processor = around("</s>", None)(t)
        finish(path, reference.Tokenizers(t, strip_last_blank=source == "clip"), corpus)


def compare(english, model_dir, out, count):
    os.makedirs(out, exist_ok=True)
    corpus = strings.corpus(count, english, seed=int(os.environ.get("SEED", "1")))
    source = os.path.join(model_dir, "tokenizer.json")
    if os.path.exists(source):
        t = Tokenizer.from_file(source)
        t.no_truncation()
        t.no_padding()
        t = reference.Tokenizers(t)
    else:
        source = os.path.join(model_dir, "tokenizer.model")
        t = reference.SentencePiece(source)
    shutil.copy(source, out)
    reference.write_corpus(os.path.join(out, "corpus.bin"), corpus)
    finish(out, t, corpus)


def main():
    with open(sys.argv[2 if sys.argv[1] == "--compare" else 1], encoding="utf-8") as f:
        english = f.read()
    if sys.argv[1] == "--compare":
        return compare(english, sys.argv[3], sys.argv[4], int((sys.argv[5:] or ["4000"])[0]))
    with open(os.path.join(HERE, "regexes.json"), "w") as f:
        f.write(regexes.make())
    corpus = strings.corpus(1100, english)
    reference.write_corpus(os.path.join(HERE, "corpus.bin"), corpus)
    texts = (strings.SENTENCES * 6 + [line for line in english.split("\n") if line])[:6000]
    make_tokenizers(texts, corpus)
    make_sentencepiece(texts, corpus)
    make_vocab_merges(corpus[:500])


if __name__ == "__main__":
    main()
