#!/usr/bin/env python3
"""Makes the tokenizers of this directory that are not byte-level BPE or SentencePiece BPE as such: Unigram, files of
ranks, and what single families make of them. Strings are those of corpus.bin (make_data.py), the first of them.

    make_families.py ENGLISH.txt [NAME...]     needs tokenizers 0.23, sentencepiece 0.2.3, tiktoken 0.14
"""
import base64
import io
import json
import os
import sys

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import make_data
import reference
import strings

STRINGS = 500
SPM = dict(character_coverage=0.98, normalization_rule_name="identity", hard_vocab_limit=False)


def spm(texts, path, model_type="unigram", **options):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(texts), model_writer=out, model_type=model_type,
                                             minloglevel=2, num_threads=1, **{**SPM, **options})
    with open(path, "wb") as f:
        f.write(out.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def config(path, **entries):
    make_data.write_json(os.path.join(path, "tokenizer_config.json"), entries)


# ---- tokenizer.json ------------------------------------------------------------------------------------------------

def unigram(path, texts, **parts):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=700, unk_token="<unk>", special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False,
        initial_alphabet=[]))
    j = json.loads(t.to_str())
    j["model"]["vocab"] = [[p, round(s, 5)] for p, s in j["model"]["vocab"]]
    j.update(parts)
    make_data.write_json(os.path.join(path, "tokenizer.json"), j)
    t = Tokenizer.from_file(os.path.join(path, "tokenizer.json"))
    return reference.Tokenizers(t)


def unigram_words(path, texts):
    """A Metaspace that cuts words, </s> in front as XGLM has it."""
    return unigram(path, texts, post_processor={
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}},
                                                 {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [], "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}})


def unigram_bytes(path, texts):
    """Unknown characters as bytes; whole texts without cuts, so that unknown characters stand side by side."""
    unigram(path, texts)
    with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as f:
        j = json.load(f)
    j["model"]["vocab"] += [["<0x%02X>" % b, -20.0 - b % 3] for b in range(256)]
    j["model"]["byte_fallback"] = True
    j["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    j["pre_tokenizer"] = None
    j["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]}
    make_data.write_json(os.path.join(path, "tokenizer.json"), j)
    return reference.Tokenizers(Tokenizer.from_file(os.path.join(path, "tokenizer.json")))


def llama_config(path, texts):
    """A tokenizer.json whose template and flags tokenizer_config.json changes, as transformers does for Llama."""
    t = make_data.gpt2(texts)
    t.add_special_tokens([make_data.special("<s>"), make_data.special("</s>")])
    make_data.write_json(os.path.join(path, "tokenizer.json"), json.loads(t.to_str()))
    ids = {name: t.token_to_id(name) for name in ("<|endoftext|>", "<s>", "</s>")}
    flags = dict(lstrip=False, rstrip=False, single_word=False, special=True)
    config(path, tokenizer_class="LlamaTokenizerFast", add_bos_token=True, add_eos_token=True, bos_token="<s>",
           eos_token="</s>", pad_token="<ent>", additional_special_tokens=["[MASK]"], added_tokens_decoder={
               str(ids["<|endoftext|>"]): {"content": "<|endoftext|>", "normalized": False, **flags},
               str(ids["</s>"]): {"content": "</s>", "normalized": False, **flags, "rstrip": True},
               str(ids["</s>"] + 1): {"content": "<tool>", "normalized": True, **flags, "special": False}})
    t.add_special_tokens([make_data.special("</s>", rstrip=True)])
    t.add_tokens([make_data.AddedToken("<tool>", normalized=True, special=False)])
    t.add_special_tokens([make_data.special(name) for name in ("<unk>", "<ent>", "[MASK]")])
    t.post_processor = make_data.around("<s>", None, "</s>")(t)
    return reference.Tokenizers(t)


def openai_gpt_files(path, texts):
    t = make_data.openai_gpt(texts)
    j = json.loads(t.to_str())
    make_data.write_json(os.path.join(path, "vocab.json"), j["model"]["vocab"])
    with open(os.path.join(path, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(a + " " + b + "\n" for a, b in j["model"]["merges"]))
    config(path, tokenizer_class="OpenAIGPTTokenizer", unk_token="<unk>")
    return reference.Tokenizers(t)


def glm_gpt2(path, texts):
    """GLM of 2022: GPT-2's files and an added_tokens.json."""
    t = make_data.gpt2(texts)
    j = json.loads(t.to_str())
    names = ["<|startofpiece|>", "<|endofpiece|>", "[CLS]", "[MASK]", "[SEP]", "[gMASK]", "[sMASK]"]
    make_data.write_json(os.path.join(path, "vocab.json"), {**j["model"]["vocab"], "<|endoftext|>": 700})
    with open(os.path.join(path, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(a + " " + b + "\n" for a, b in j["model"]["merges"]))
    make_data.write_json(os.path.join(path, "added_tokens.json"), {name: 701 + i for i, name in enumerate(names)})
    config(path, tokenizer_class="GLMGPT2Tokenizer", cls_token="[CLS]", mask_token="[MASK]", eos_token="<|endoftext|>",
           sep_token="[SEP]", additional_special_tokens=["<|startofpiece|>", "<|endofpiece|>", "[gMASK]", "[sMASK]"])
    for name in names:
        t.add_special_tokens([make_data.special(name)])
    t.post_processor = make_data.around("[CLS]", None, "<|endoftext|>", "<|startofpiece|>")(t)
    return reference.Tokenizers(t)


# ---- SentencePiece -------------------------------------------------------------------------------------------------

def sentencepiece_unigram(path, texts):
    spm(texts, os.path.join(path, "tokenizer.model"), vocab_size=700, control_symbols=["<ctl>"],
        user_defined_symbols=["<ent>", "<tool>", "Yesterday", "ab"])
    return reference.SentencePiece(os.path.join(path, "tokenizer.model"))


def sentencepiece_unigram_bytes(path, texts):
    spm(texts, os.path.join(path, "tokenizer.model"), vocab_size=700, byte_fallback=True,
        remove_extra_whitespaces=False, split_digits=True)
    return reference.SentencePiece(os.path.join(path, "tokenizer.model"))


def xglm(path, texts):
    file = os.path.join(path, "sentencepiece.bpe.model")
    n = spm(texts, file, vocab_size=600).get_piece_size()
    config(path, tokenizer_class="XGLMTokenizer")
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **{f"<madeupword{i}>": n + 1 + i for i in range(7)}}
    return reference.FamilySentencePiece(file, to_id=lambda i: {0: 3, 1: 0, 2: 2}.get(i, i + 1), special=special,
                                         front=[2])


def to_marks(text):
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    for n in range(80, 1, -1):
        text = text.replace(" " * n, f"<|blank_{n}|>")
    return text


def from_marks(text):
    text = text.replace("<n>", "\n").replace("<|tab|>", "\t")
    for n in range(2, 81):
        text = text.replace(f"<|blank_{n}|>", " " * n)
    return text


def chatglm_6b(path, texts):
    file = os.path.join(path, "ice_text.model")
    marks = ["<n>", "<|tab|>"] + [f"<|blank_{n}|>" for n in range(2, 81)]
    p = spm(texts, file, vocab_size=1000, byte_fallback=True, user_defined_symbols=marks,
            control_symbols=["[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<pad>"])
    images = 50
    config(path, tokenizer_class="ChatGLMTokenizer", num_image_tokens=images, bos_token="<sop>", eos_token="<eop>")
    special = {name: p.piece_to_id(name) + images for name in ("<sop>", "<eop>", "[MASK]", "<pad>", "<unk>")}
    return reference.FamilySentencePiece(
        file, to_id=lambda i: i + images, special=special, before=to_marks, after=from_marks,
        back=[p.piece_to_id("[gMASK]") + images, special["<sop>"]])


def chatglm_2(path, texts):
    file = os.path.join(path, "tokenizer.model")
    n = spm(texts, file, "bpe", vocab_size=700, byte_fallback=True).get_piece_size()
    config(path, tokenizer_class="ChatGLMTokenizer")
    return reference.FamilySentencePiece(file, front=[n + 1, n + 3])


def internlm(path, texts):
    file = os.path.join(path, "tokenizer.model")
    spm(texts, file, "bpe", vocab_size=600, byte_fallback=True, remove_extra_whitespaces=False)
    config(path, tokenizer_class="InternLMTokenizer", add_eos_token=True)
    return reference.FamilySentencePiece(file, special={"<unk>": 0, "<s>": 1, "</s>": 2}, front=[1], back=[2])


def baichuan(path, texts):
    file = os.path.join(path, "tokenizer.model")
    spm(texts, file, "bpe", vocab_size=600, byte_fallback=True, remove_extra_whitespaces=False)
    token = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": True, "rstrip": False,
             "single_word": True}
    config(path, tokenizer_class="BaichuanTokenizer", add_bos_token=False, add_eos_token=False, eos_token=token)
    return reference.FamilySentencePiece(file, special={"<unk>": 0, "<s>": 1, "</s>": 2}, alone=("</s>",))


# ---- ranks ---------------------------------------------------------------------------------------------------------

def ranks(path, file, texts):
    """A file of ranks from a BPE trained on bytes: the bytes first, then what merges made, in order."""
    t = make_data.byte_bpe(texts, 900, make_data.byte_level(regex=True))
    j = json.loads(t.to_str())["model"]
    alphabet = {c: b for b, c in byte_characters().items()}
    tokens = [bytes([b]) for b in range(256)]
    tokens += [bytes(alphabet[c] for c in a + b) for a, b in j["merges"]]
    with open(os.path.join(path, file), "wb") as f:
        for i, token in enumerate(dict.fromkeys(tokens)):
            f.write(base64.b64encode(token) + b" %d\n" % i)
    return os.path.join(path, file)


def byte_characters():
    """The characters that stand for bytes in GPT-2's alphabet."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def tiktoken_qwen(path, texts):
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    config(path, tokenizer_class="QWenTokenizer")
    return reference.Ranks(ranks(path, "qwen.tiktoken", texts), make_data.QWEN2, special, whole_nfc=True)


def tiktoken_glm4(path, texts):
    special = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>"]
    config(path, tokenizer_class="ChatGLM4Tokenizer")
    return reference.Ranks(ranks(path, "tokenizer.model", texts), make_data.LLAMA3, special,
                           front=["[gMASK]", "<sop>"])


FAMILIES = [glm_gpt2, unigram_words, unigram_bytes, llama_config, openai_gpt_files, sentencepiece_unigram,
            sentencepiece_unigram_bytes, xglm, chatglm_6b, chatglm_2, internlm, baichuan, tiktoken_qwen, tiktoken_glm4]


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        english = f.read()
    corpus = strings.corpus(1100, english)[:STRINGS]
    texts = (strings.SENTENCES * 6 + [line for line in english.split("\n") if line])[:6000]
    for make in FAMILIES:
        if sys.argv[2:] and make.__name__ not in sys.argv[2:]:
            continue
        path = make_data.fresh(make.__name__)
        make_data.finish(path, make(path, texts), corpus)


if __name__ == "__main__":
    main()
