"""The registry of columns: of each its name, type and meaning, which step makes it, and which sources have it.

The check of `keep`, the schemas that steps write and the table in docs/curation.md follow from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

ID = pa.field("id", pa.string())
TEXT, NUMBER, SHARE, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TYPES = {TEXT: "text", NUMBER: "whole number", SHARE: "number", FLAG: "true or false"}


@dataclass(frozen=True)
class Column:
    """A column beside the documents; its files are in a folder with the name of the step."""

    name: str
    type: pa.DataType
    meaning: str
    step: str
    sources: str = "all"  # that have it, in words
    model: str = ""  # of the recipe, whose column it is

    @property
    def field(self) -> pa.Field:
        """As Arrow has it."""
        return pa.field(self.name, self.type)


def _made_by(step: str, columns: dict[str, tuple[pa.DataType, str]], sources: str = "all") -> tuple[Column, ...]:
    return tuple(Column(name, kind, meaning, step, sources) for name, (kind, meaning) in columns.items())


_SCRIPT = "share of the letters"
_AGAIN = "share of the characters in {}-grams of pieces that stood earlier"
_TOP = "characters of the most frequent {}-gram of pieces, times how often it stands, over all; can pass 1"
SIGNALS = _made_by(
    "signals",
    {
        "num_bytes": (NUMBER, "bytes of the text in utf-8"),
        "chars": (NUMBER, "characters"),
        "words": (NUMBER, "words"),
        "pieces": (NUMBER, "pieces"),
        "lines": (NUMBER, "lines"),
        "longest_line": (NUMBER, "characters of the longest line"),
        "stop_kinds": (NUMBER, "how many of the language's eight most telling stop words stand in lower case"),
        "c4_sentences": (NUMBER, "sentences of the lines that C4 would leave"),
        "lorem_lines": (NUMBER, "lines with `lorem ipsum` that end as a sentence"),
        "curly_lines": (NUMBER, "lines with a curly bracket that end as a sentence"),
        "mean_word_chars": (SHARE, "mean characters of a word"),
        "mean_line_chars": (SHARE, "mean characters of a line"),
        "alpha": (SHARE, "share of the characters that are letters"),
        "digits": (SHARE, "share of the characters that are digits"),
        "symbols": (SHARE, "share of the characters that are symbols"),
        "upper": (SHARE, "share of the characters that are capitals"),
        "alpha_words": (SHARE, "share of the pieces that hold a letter"),
        "hashes": (SHARE, "`#` for each piece"),
        "ellipses": (SHARE, "`...` or `…` for each piece"),
        "newlines": (SHARE, "line feeds for each piece"),
        "stop_words": (SHARE, "share of the words that are stop words of the declared language"),
        "flagged_words": (SHARE, "share of the words that are in flagged phrases"),
        "noise_words": (SHARE, "share of the words alone in a line, or in lines of capitals, digits or counters"),
        "bullet_lines": (SHARE, "share of the lines that begin with a bullet"),
        "ellipsis_lines": (SHARE, "share of the lines that end cut off"),
        "ended_lines": (SHARE, "share of the lines that end as a sentence does"),
        "short_lines": (SHARE, "share of the lines of at most 30 characters"),
        "upper_lines": (SHARE, "share of the lines mostly in capitals"),
        "digit_lines": (SHARE, "share of the lines of digits without letters"),
        "counter_lines": (SHARE, "share of the lines like `3 likes`"),
        "c4_lines": (SHARE, "share of the lines that C4 would leave: three words or more that end as a sentence"),
        "javascript_lines": (SHARE, "share of the lines that end as a sentence and name JavaScript"),
        "policy_lines": (SHARE, "share of the lines that end as a sentence and hold a policy phrase"),
        "dup_lines": (SHARE, "share of the lines that stood earlier"),
        "other_script": (SHARE, f"{_SCRIPT}, of any script but these"),
        "latin": (SHARE, _SCRIPT),
        "devanagari": (SHARE, _SCRIPT),
        "han": (SHARE, _SCRIPT),
        "kana": (SHARE, _SCRIPT),
        "cyrillic": (SHARE, _SCRIPT),
        "arabic": (SHARE, _SCRIPT),
        "hangul": (SHARE, _SCRIPT),
        "dup_paras": (SHARE, "share of the paragraphs that stood earlier"),
        "dup_line_chars": (SHARE, "share of the characters in lines that stood earlier"),
        "dup_para_chars": (SHARE, "share of the characters in paragraphs that stood earlier"),
        **{f"top_{n}gram": (SHARE, _TOP.format(n)) for n in (2, 3, 4)},
        **{f"dup_{n}grams": (SHARE, _AGAIN.format(n)) for n in range(5, 11)},
        "pii_secret": (NUMBER, "keys, tokens and passwords"),
        "pii_email": (NUMBER, "addresses of e-mail"),
        "pii_ip": (NUMBER, "public addresses of the internet"),
        "pii_iban": (NUMBER, "bank accounts"),
        "pii_card": (NUMBER, "payment cards"),
        "pii_fi_hetu": (NUMBER, "Finnish personal identity codes"),
        "pii_jp_my_number": (NUMBER, "Japanese individual numbers"),
        "pii_vn_cccd": (NUMBER, "Vietnamese citizen identity cards"),
        "pii_us_ssn": (NUMBER, "social security numbers of the United States"),
        "pii_in_pan": (NUMBER, "Indian permanent account numbers"),
        "pii_in_aadhaar": (NUMBER, "Aadhaar numbers"),
        "pii_phone": (NUMBER, "phone numbers"),
        "lang_id": (TEXT, "what fastText's lid.176 answers for about 1,000 characters; `code` where that is declared"),
        "lang_prob": (SHARE, "the probability of this answer"),
    },
)
DUPLICATES = _made_by(
    "duplicates",
    {
        "dup_of": (TEXT, "`source/id` of the first document that this one repeats; missing where it repeats none"),
        "dup_kind": (TEXT, "`exact` or `near`; missing as `dup_of`"),
        "similarity": (SHARE, "Jaccard of the five-word shingles of the two; missing as `dup_of`"),
    },
)
OVERLAP = _made_by(
    "overlap",
    {
        "contaminated_items": (NUMBER, "how many evaluation items the document holds"),
        "contaminated_item_ids": (TEXT, "the ids of these items, joined by `;`"),
    },
)
CODE = _made_by(
    "code",
    {
        "code_lang": (TEXT, "by file name, `#!` line or declared language, held against the start of the text"),
        "licence": (TEXT, "SPDX: of the file, else of the nearest licence file above it, else as declared"),
        "licence_kind": (TEXT, "`permissive`, `copyleft`, `unknown` or `none`"),
        "generated": (FLAG, "a program wrote it"),
        "vendored": (FLAG, "it lies in a folder of other people's code"),
        "minified": (FLAG, "white space was taken out"),
        "comment_share": (SHARE, "share of the bytes other than white space that stand in comments"),
        "alnum_share": (SHARE, "share of the characters that are letters or digits"),
        "encoded_share": (SHARE, "share of the bytes in long runs of base64 or hex"),
    },
    "`code`",
)
_SITE = "share of the bytes in lines that pages of a site share"
BOILER = Column("boiler", SHARE, _SITE, "lines", "with `boilerplate_pages`")
_LISTED = "share of the words inside listed terms"
TOXIC = Column("toxic", SHARE, _LISTED, "toxic", "languages with a list, and with `words`")
_COST = "2 to the power of the bits that a byte costs; missing where there is no character"
PERPLEXITY = Column("perplexity", SHARE, _COST, "perplexity", "languages with `[perplexity.LANG]`")
LANG = Column("lang", TEXT, "the declared language", "fetch")
OF_ALL = (*SIGNALS, *DUPLICATES, *OVERLAP, LANG)
OF_SOME = (*CODE, BOILER, TOXIC, PERPLEXITY)
RENAMED = {"leak": "contaminated_items", "leak_items": "contaminated_item_ids"}  # what was called so up to 0.1


def quality_columns(model: str) -> tuple[Column, ...]:
    """What a quality model of the recipe says of each document."""
    return (
        Column(model, SHARE, "the probability of the positive sources", "classes", "with a `[quality.NAME]`", model),
    )


def register_columns(model: str) -> tuple[Column, ...]:
    """What a model of registers says of each document."""
    sources = "with a `[register.NAME]`"
    return (
        Column(model, TEXT, "the likeliest register", "classes", sources, model),
        Column(f"{model}_prob", SHARE, "the probability of this register", "classes", sources, model),
        Column(f"{model}_keep", FLAG, "false for what is too much of a register", "subsample", sources, model),
    )


def columns_of(
    lang: str, *, boilerplate: bool, toxic: bool, perplexity: bool, quality: Iterable[str], registers: Iterable[str]
) -> tuple[Column, ...]:
    """The columns of a source in this language.

    Whether its boilerplate is looked for, toxic words are listed, there is a model of its characters; and the names of
    the recipe's models of quality and of registers.
    """
    some = [*(CODE if lang == "code" else ())]
    some += [column for column, has in ((BOILER, boilerplate), (TOXIC, toxic), (PERPLEXITY, perplexity)) if has]
    some += [column for model in quality for column in quality_columns(model)]
    some += [column for model in registers for column in register_columns(model)]
    return (*OF_ALL, *some)


def schema(columns: Iterable[Column]) -> pa.Schema:
    """What a step writes: the document's id, and these columns."""
    return pa.schema([ID, *(column.field for column in columns)])


def as_markdown() -> str:
    """The table of all columns, for the docs."""
    models = (*quality_columns("QUALITY"), *register_columns("REGISTER"))
    rows = (
        (f"`{column.name}`", TYPES[column.type], column.meaning, f"`{column.step}`", column.sources)
        for column in (*OF_ALL, *OF_SOME, *models)
    )
    head = ("column", "type", "what it is", "made by", "sources")
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ("---",) * len(head), *rows))
