"""The strings on which tokenizers are compared: sentences of many scripts, and what breaks tokenizers."""
import random
import unicodedata

SENTENCES = [
    "The quick brown fox jumps over the lazy dog; it wasn't amused, and I'd say they're right.",
    "In 2024, 1,234,567 people paid $3.50 (or 3,20 €) for 12 eggs: 100% true!",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Dès Noël où un zéphyr haï me vêt de glaçons würmiens, je dîne d'exquis rôtis de bœuf.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; ¿añoraba a su querido cachorro?",
    "À noite, vovô Kowalsky vê o ímã cair no pé do pinguim queixoso.",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Árvíztűrő tükörfúrógép.",
    "Jovencillo emponzoñado de whisky: ¡qué figurota exhibe!",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Щастям б'єш жук їх глицю в фон й ґедзь пріч.",
    "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία, Σίσυφος ΟΔΟΣ.",
    "דג סקרן שט בים מאוכזב ולפתע מצא לו חברה.",
    "نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر ومغلف بجلد أزرق، ١٢٣٤.",
    "گل‌های زیبا را می‌خواهم؛ آیا می‌شود؟",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले विष्णुवतार भगवान श्रीराम।",
    "আমি বাংলায় গান গাই, আমি বাংলার গান গাই।",
    "தமிழ் மொழி என் உயிர்; கற்க கசடறக் கற்பவை.",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน",
    "ខ្មែរ ភាសាខ្មែរ មានអក្សរច្រើន",
    "我能吞下玻璃而不伤身体。他说：“你好，世界！”（真的吗？）",
    "視野無限廣，窗外有藍天；一二三四五。",
    "いろはにほへと ちりぬるを。カタカナとｶﾀｶﾅ、漢字も混ぜる。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "Tiếng Việt có dấu: Nguyễn Thị Hương đã đi Đà Nẵng.",
    "İstanbul'da ığdır, şişe çöp, ÇĞİÖŞÜ.",
    "ქართული ენა და მხედრული ანბანი.",
    "Բարեւ աշխարհ, ինչպե՞ս ես։",
    "አማርኛ ፊደል ሰላም ለዓለም።",
    "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ꮳꮃꭹ",
    "def f(x):\n\treturn {'a': [x**2, 0xFF, 1e-9]}  # comment\n\n\nif __name__ == \"__main__\":\n    print(f(3))\n",
    "<html><body class=\"x\">&nbsp;<!-- note --></body></html>",
    "https://example.org/path/to?query=1&other=two#frag user@example.com C:\\dir\\file.txt",
    "SELECT * FROM t WHERE a >= 10 AND b != 'x''y';",
    "👋🏽 Hello 👨‍👩‍👧‍👦 family 🏳️‍🌈 flag 🇩🇪🇯🇵 1️⃣ ❤️ ☺ 🤷‍♀️",
    "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β → ∑ᵢ xᵢ² ≠ ∞ ½ ⅔ ²³ Ⅷ ㊿",
    "ﬁne ﬂow ﬀ Å Å K K ſtraße ẞ ǅ ℌ ㎏ ﷺ ⑴",
    "I’ve ‘quoted’ “this” — and… that’s it‼",
    "HELLO'S WORLD'LL WE'RE I'M THEY'D DON'T 'Tis rock'n'roll o'clock 'ſ",
]

TRICKY = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n", "\n ", " \t \n \r\n x", "\u00a0", "\u3000", "\u2003x\u2003",
    "\u200b", "\u200d", "\u200c\u200d", "\ufeff", "\ufeffBOM", "\u0000", "a\u0000b", "\u0001\u0002\u001f\u007f\u0085\u009f",
    "\u2028\u2029", "\u180e x", "\u1680y", "a", "A", ".", "...", "....", "?!?!", "----", "====", "____", "a_b_c", "0", "00",
    "1234567890", "12 345 6789", "3.14159", "1,000,000", "x1y22z333", "²³½", "٠١٢٣", "१२३", "𝟘𝟙𝟚", "e\u0301", "\u00e9",
    "e\u0301\u0323", "e\u0323\u0301", "\u0301", "\u0301\u0301\u0301", "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306", "q\u0307\u0323",
    "\u1100\u1161\u11a8", "\uac01", "\u1112\u1175", "ﬁ", "Ⅻ", "㍿", "\u212b", "\u00c5", "A\u030a", "İ", "I\u0307", "ß", "SS",
    "'s", "'S", "it's", "IT'S", "''", "'", " '", "' s", "’s", "'re 're", "can't've", "\U0001F600", "\U0001F468\u200d\U0001F469",
    "\U0001F1E9\U0001F1EA", "\ufe0f", "❤\ufe0f", "\U0001F44B\U0001F3FD", "\U000E0067", "\U0010FFFF", "\ufffd", "\ufffe", "\ue000",
    "▁", "▁▁", " ▁", "▁ ", "a▁b", "▁a ▁b", "<0x41>", "<0xE3>", "<0x0A>", "Ġ", "ĠĠhello", "Ċ", "##ing", "</w>", "a</w>b", "<unk>",
    "⁇", " ⁇ ", "<s>", "</s>", "<s></s>", " <s> ", "x<s>y", "<s>x</s> y", "<pad>", "<|endoftext|>", "a<|endoftext|>b",
    "<|endoftext|><|endoftext|>", "<|endoftext|> ", " <|endoftext|>", "<|endoftext", "<|im_start|>user\nHi<|im_end|>\n",
    "<|begin_of_text|>Hi<|eot_id|>", "<|start_header_id|>system<|end_header_id|>\n\nYou", "[CLS] a [SEP]", "[MASK]", "a[MASK]b",
    " [MASK] ", "  [MASK]  .", "[mask]", "[Mask] x", "<mask>", "a <mask> b", "<ent>", "x<ent>", "<ent>x", "x <ent> y", "<ENT>",
    "<tool>", "<tool>  x", "x  <tool>", "é<ent>", "_<ent>_", "<ent><ent>", "YESTERDAY", "yesterday", "Yesterdays", "<|im_end|",
    "  leading", "trailing  ", "  both  ", "in  between", "tab\tbetween", "line\nbreak", "two\n\nbreaks", "end\n", "end \n", "end\n ",
    "mixed \n\t \n end", "a\u00a0b", "a\u3000b", "a\u2003\u2003b", "hello\u200bworld", "Hello World", "hello world", "HELLO WORLD",
    "camelCaseWord", "snake_case_word", "kebab-case-word", "CONSTANT_CASE", "x=1;y=2", "a+b-c*d/e", "{}[]()<>", "\\n\\t", "\"\"", "``",
    "$100", "€5", "£3", "#tag", "@user", "100%", "a&b", "~", "^", "|", "你好", "你 好", "你好world", "hello你好", "、。！？", "。。。",
    "…", "،", "؟", "۔", "।", "۔،", "(|[.,!?…。，、।۔،])", "ｆｕｌｌ　ｗｉｄｔｈ", "ﾊﾝｶｸ", "ㅎㅎㅎ", "ทดสอบ", "שָׁלוֹם", "مُحَمَّد", "क्षत्रिय", "நி",
    "\U00020000\U0002A6DF", "\U00031350", "\U0002EBF0", "\U0001E900\U0001E922", "\u1c89\ua7cb", "\U00010D50", "\U00016EA0",
    "\u32ff", "\U0001FBF0", "\U00011938", "\u0897a", "\U0001F16C", "\u0560\u10d0\u1c90", "ǆǅǄ", "ᾳᾼ", "Σίσυφος ΣΑΣ", "ﬆ ſt", "kK", "ŉ",
    "o\u0336v\u0336e\u0336r\u0336", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢", "\u0645\u064e\u0651", "\u0645\u0651\u064e", "x\u0334\u0301\u0334\u0301", "\u05d1\u05bc\u05b0",
]

MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "[MASK]", "<ent>", "<tool>",
         "<|begin_of_text|>", "<|eot_id|>", "<|startoftext|>", "[CLS]", "Yesterday", "<0x0A>", "▁", "##", "</w>"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u3000", " \n", "\n  ", "\u2003"]


def random_char(r):
    """A scalar value; ranges with much text in them come more often than empty planes."""
    kind = r.randrange(12)
    if kind < 2:
        return chr(r.randrange(0x20, 0x7f))
    if kind == 2:
        return chr(r.randrange(0x00, 0x250))
    if kind == 3:
        return chr(r.randrange(0x250, 0x1000))
    if kind == 4:
        return chr(r.randrange(0x1000, 0x3100))
    if kind == 5:
        return chr(r.choice([r.randrange(0x3100, 0xd800), r.randrange(0xe000, 0x10000)]))
    if kind == 6:
        return chr(r.randrange(0x10000, 0x12000))
    if kind == 7:
        return chr(r.randrange(0x1d000, 0x20000))
    if kind == 8:
        return chr(r.choice([0x300, 0x301, 0x323, 0x327, 0x334, 0x345, 0x5b0, 0x64b, 0x93c, 0x94d, 0xe31, 0x1dc0, 0x20d0, 0x302a]))
    if kind == 9:
        return r.choice(SPACES)
    if kind == 10:
        return chr(r.randrange(0x1f300, 0x1fb00))
    return chr(r.choice([r.randrange(0x20000, 0x32400), r.randrange(0x12000, 0x1d000), r.randrange(0xe0000, 0xe0200)]))


def words(sentences):
    return [w for s in sentences for w in s.split(" ")]


def corpus(count, english, seed=1):
    """Byte strings, at least `count` of them; some are not valid UTF-8."""
    r = random.Random(seed)
    out = [s.encode() for s in SENTENCES + TRICKY]
    lines = [line for line in english.split("\n") if line]
    pool = words(SENTENCES) + words(lines[:2000])
    out += [("a" * n).encode() for n in (17, 64, 301)] + [(" " * n).encode() for n in (7, 33, 200)]
    out += [("\n" * 40).encode(), ("ab" * 150).encode(), "é".encode() * 120, "漢".encode() * 90, b"0" * 100, b"." * 70, b"\t" * 20]
    while len(out) < count:
        kind = r.randrange(10)
        if kind < 3:
            out.append("".join(random_char(r) for _ in range(r.randrange(1, 24))).encode())
        elif kind < 5:
            out.append("".join(r.choice(pool) + r.choice(SPACES + [" "] * 20) for _ in range(r.randrange(1, 9))).encode())
        elif kind == 5:
            out.append("".join(r.choice(MARKS + [r.choice(pool), r.choice(SPACES)]) for _ in range(r.randrange(1, 8))).encode())
        elif kind == 6:
            base = "".join(r.choice(pool) for _ in range(2)).encode() + r.choice(SENTENCES).encode()[:60]
            cut = bytearray(base[r.randrange(3):r.randrange(4, 60)])
            for _ in range(r.randrange(4)):
                cut.insert(r.randrange(len(cut) + 1), r.choice([0x80, 0xbf, 0xc0, 0xc3, 0xe2, 0xed, 0xf0, 0xf4, 0xff, r.randrange(256)]))
            out.append(bytes(cut))
        elif kind == 7:
            out.append(" ".join(r.choice(lines) for _ in range(r.randrange(1, 3))).encode())
        elif kind == 8:
            alphabet = r.choice(["ab", "01 ", " \n", "'sStTmM ", "a\u0301\u0323 ", ".,!?- ", "一二三 a", "ABab ", "\u00e9e\u0301 "])
            out.append("".join(r.choice(alphabet) for _ in range(r.randrange(1, 40))).encode())
        else:
            form = r.choice(["NFC", "NFD", "NFKC", "NFKD"])
            out.append(unicodedata.normalize(form, r.choice(SENTENCES))[r.randrange(5):r.randrange(6, 70)].encode())
    return out
