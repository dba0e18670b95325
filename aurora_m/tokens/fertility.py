"""What a tokenizer makes of each language: tokens a word, bytes a token, tokens for what English says in one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from aurora_m.core.canon import JSON
from aurora_m.core.facts import to_json
from aurora_m.core.files import read_jsonl, write_json
from aurora_m.core.step import Artifact, Work
from aurora_m.core.uri import local_files, pinned
from aurora_m.tokens.sample import sample
from aurora_m.tokens.spelling import MOST_UNSPELLED, Spelling, Unspelled
from aurora_m.tokens.tokenizer import open_tokenizer

FILE = "fertility.json"
PARALLEL = "sample:parallel/*"
UNSPACED = frozenset(("ja", "zh", "th", "lo", "km", "my", "bo", "dz"))  # languages that put no space between words


@dataclass(frozen=True)
class Cost:
    """What a tokenizer makes of each source, and of the sentences in each language."""

    tokens_a_word: Mapping[str, float]  # by source
    against_english: Mapping[str, float]  # by language


@dataclass(frozen=True)
class FertilityFacts:
    """What languages cost under the base's tokenizer, and under the extended one."""

    base: Cost
    extended: Cost | None = None


def fertility(
    work: Work, *, tokenizers: dict[str, Artifact], docs: dict[str, Artifact], langs: dict[str, str], pin: str
) -> FertilityFacts:
    """Measure tokenizers on a sample of every source's documents, and on sentences that say the same in five languages.

    Writes fertility.json: by tokenizer `sources` {name: `measured`, with its lang} and `parallel` {lang: tokens,
    against_english}. What counts as a word is what stands between spaces, and in languages without spaces a character.

    tokenizers  `base`, and `extended` if there is one
    langs       of each source
    pin         of the sentences
    """
    files = local_files(PARALLEL, work.runtime.root)
    with pinned(files, pin, PARALLEL):
        sentences = [row for path in files.values() for row in read_jsonl(path)]
    samples = {name: [*sample(docs[name].path)] for name in docs}
    tables: dict[str, JSON] = {}
    costs: dict[str, Cost] = {}
    for which, artifact in tokenizers.items():
        tokenizer = open_tokenizer(artifact.path)
        sources = {name: measured(tokenizer, texts, langs[name]) for name, texts in samples.items()}
        parallel = against(tokenizer, sentences)
        tables[which] = {"sources": to_json(sources), "parallel": to_json(parallel)}
        words_cost = {name: row.tokens_a_word for name, row in sources.items()}
        costs[which] = Cost(words_cost, {lang: row.against_english for lang, row in parallel.items()})
    write_json(work.out / FILE, tables)
    return FertilityFacts(**costs)


@dataclass(frozen=True)
class Measured:
    """What a tokenizer makes of some texts; 0 where there is nothing to divide by."""

    lang: str
    docs: int
    bytes: int
    words: int
    tokens: int
    tokens_a_word: float
    tokens_a_doc: float
    bytes_a_token: float
    unspelled: float | None = None  # share of the bytes that has no token


@dataclass(frozen=True)
class Parallel:
    """The tokens of sentences in one language, and for one of English."""

    tokens: int
    against_english: float


def measured(tokenizer: Tokenizer, texts: Sequence[str], lang: str) -> Measured:
    """Count documents, bytes, words and tokens of some texts."""
    num_tokens, num_bytes = count(tokenizer, texts), sum(len(text.encode()) for text in texts)
    num_words = sum(words(text, lang) for text in texts)
    ratios = _ratio(num_tokens, num_words), _ratio(num_tokens, len(texts)), _ratio(num_bytes, num_tokens)
    unspelled = round(_unspelled(tokenizer, texts), 6)
    return Measured(lang, len(texts), num_bytes, num_words, num_tokens, *ratios, unspelled or None)


def _unspelled(tokenizer: Tokenizer, texts: Iterable[str]) -> float:
    """The share of the bytes of some texts that has no token."""
    found = Unspelled()
    found.add(Spelling(tokenizer), texts)
    return found.share


def against(tokenizer: Tokenizer, sentences: Sequence[Mapping[str, str]]) -> dict[str, Parallel]:
    """How many tokens each language needs to say the same, and how many for one of English.

    Languages that the tokenizer cannot spell are left out: `<unk>` is cheap and says nothing.
    """
    tokens = {}
    for lang in (name for name in sentences[0] if name != "id"):
        texts = [row[lang] for row in sentences]
        if _unspelled(tokenizer, texts) <= MOST_UNSPELLED:
            tokens[lang] = count(tokenizer, texts)
    return {} if "en" not in tokens else {lang: Parallel(n, _ratio(n, tokens["en"])) for lang, n in tokens.items()}


def count(tokenizer: Tokenizer, texts: Iterable[str]) -> int:
    """How many tokens some texts have, each alone."""
    return sum(len(row.ids) for row in tokenizer.encode_batch_fast([*texts], add_special_tokens=False))


def words(text: str, lang: str) -> int:
    """Count what stands between spaces; in languages without them, what is no space."""
    return sum(map(len, text.split())) if lang in UNSPACED else len(text.split())


def _ratio(count: int, of: int) -> float:
    return round(count / of, 4) if of else 0.0
