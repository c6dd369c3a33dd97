"""The tokenizers that transformers' classes build from a vocabulary, without transformers.

Each recipe says what the class of that name does, oddities included: the ids are to be those of
``AutoTokenizer``. A class that has no recipe here is refused where its files cannot be taken as
they are. Decoders are left out, as nothing is decoded.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from services.preprocess.tokenizer_classes import AS_IN_FILE
from services.preprocess.tokenizer_tokens import NAMES, Token

_QUOTES: Final = (("``", '"'), ("''", '"'))
_QWEN: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?{letters}+|\p{{N}}"
    r"| ?[^\s{others}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_2: Final = _QWEN.format(letters=r"\p{L}", others=r"\p{L}\p{N}")
_QWEN_3_5: Final = _QWEN.format(letters=r"[\p{L}\p{M}]", others=r"\p{L}\p{M}\p{N}")


@dataclass(frozen=True, slots=True)
class Parts:
    """What a class builds from."""

    options: Mapping[str, Any]
    """``tokenizer_config.json``."""
    named: Mapping[str, Token | None]
    """The special tokens, the class's own where the files say nothing."""
    vocab: Any = ()
    """By token, or pairs of token and score."""
    merges: Sequence[tuple[str, str]] = ()
    charsmap: bytes | None = None
    """sentencepiece's own table of characters."""

    def by_token(self) -> dict[str, int]:
        """The vocabulary of a class that knows no scores."""
        if isinstance(self.vocab, dict):
            return self.vocab
        return {token: at for at, (token, _) in enumerate(self.vocab)}

    def text(self, name: str) -> str:
        """A special token's content."""
        return str(self.named.get(name))

    def says(self, name: str, default: Any) -> Any:
        """An option, the class's own value where the file does not have it."""
        return self.options.get(name, default)

    def index(self, backend: Tokenizer, name: str) -> tuple[str, int]:
        """A special token and its id.

        Raises:
            ValueError: it has none
        """
        content = self.text(name)
        at = backend.token_to_id(content)
        if at is None:
            raise ValueError(f"{name} {content!r} is in no vocabulary")
        return content, at


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one class builds."""

    special: Mapping[str, str]
    """Its own special tokens."""
    assemble: Callable[[Parts], Tokenizer] | None
    """None: as ``tokenizer.json`` has it."""
    template: Callable[[Tokenizer, Parts], Any] | None = None
    """What goes around a text; None: as ``tokenizer.json`` has it, or nothing."""
    file_first: bool = False
    """The template is for files that have none."""
    needs_file: bool = False
    """Where the file has none, this class puts nothing around a text."""
    again: Literal["never", "as said", "plain"] = "never"
    """How the special tokens are added once more, which changes what they swallow."""
    typed: bool = False
    """The model is given token types."""
    flags: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """By special token: what it is made with where a file has only its text."""
    more: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda _: ()
    """More special tokens, where the files name none."""


def _specials(words: str) -> dict[str, str]:
    """In the order of the names, a dash where there is none."""
    return {name: word for name, word in zip(NAMES, words.split(), strict=True) if word != "-"}


_BERT: Final = _specials("- - [UNK] [SEP] [PAD] [CLS] [MASK]")
_ROBERTA: Final = _specials("<s> </s> <unk> </s> <pad> <s> <mask>")
_ALBERT: Final = _specials("[CLS] [SEP] <unk> [SEP] <pad> [CLS] [MASK]")


def _word_pieces(parts: Parts) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(parts.by_token(), unk_token=parts.text("unk_token")))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=parts.says("tokenize_chinese_chars", True),
        strip_accents=parts.says("strip_accents", None),
        lowercase=parts.says("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _funnel(parts: Parts) -> Tokenizer:
    backend = _word_pieces(parts)
    normalizer = backend.normalizer
    normalizer.clean_text = parts.says("clean_text", True)
    backend.normalizer = normalizer
    return backend


def _byte_pairs(parts: Parts, **more: Any) -> Tokenizer:
    same = {"dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
    return Tokenizer(
        models.BPE(parts.by_token(), list(parts.merges), **{**same, "fuse_unk": False, **more})
    )


def _bytewise(parts: Parts) -> Tokenizer:
    backend = _byte_pairs(parts)
    prefix = parts.says("add_prefix_space", False)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return backend


def _gpt_neox(parts: Parts) -> Tokenizer:
    backend = _bytewise(parts)
    backend.normalizer = normalizers.NFC()
    return backend


def _qwen(pattern: str) -> Callable[[Parts], Tokenizer]:
    def assemble(parts: Parts) -> Tokenizer:
        backend = _byte_pairs(parts)
        backend.normalizer = normalizers.NFC()
        prefix = bool(parts.says("add_prefix_space", False))
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
                pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
            ]
        )
        return backend

    return assemble


def _llama(parts: Parts) -> Tokenizer:
    backend = Tokenizer(
        models.BPE(
            parts.by_token(), list(parts.merges), fuse_unk=True, byte_fallback=True, dropout=None
        )
    )
    prefix = parts.says("add_prefix_space", None)
    legacy = parts.says("legacy", False)
    scheme = "never" if prefix is False else "always" if legacy else "first"
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    return backend


def _gemma(parts: Parts) -> Tokenizer:
    backend = Tokenizer(
        models.BPE(
            parts.by_token(),
            list(parts.merges),
            fuse_unk=True,
            unk_token=parts.text("unk_token"),
            dropout=None,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    return backend


def _unigrams(
    parts: Parts, unknown: int, normalizing: Sequence[Any], *, by_words: bool = True
) -> Tokenizer:
    """Pieces with scores; the text's spaces become ``▁``, by words or all at once."""
    backend = Tokenizer(models.Unigram(parts.vocab, unk_id=unknown, byte_fallback=False))
    if normalizing:
        one, *more = normalizing
        backend.normalizer = normalizers.Sequence(list(normalizing)) if more else one
    scheme = "always" if parts.says("add_prefix_space", True) else "never"
    spaces = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    backend.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), spaces]) if by_words else spaces
    )
    return backend


def _charsmap(parts: Parts) -> list[Any]:
    return [] if parts.charsmap is None else [normalizers.Precompiled(parts.charsmap)]


def _xlm_roberta(parts: Parts) -> Tokenizer:
    return _unigrams(parts, 3, _charsmap(parts))


def _t5(parts: Parts) -> Tokenizer:
    return _unigrams(replace(parts, options={}), 2, _charsmap(parts))


def _camembert(parts: Parts) -> Tokenizer:
    unknown = parts.text("unk_token")
    at = next((i for i, (piece, _) in enumerate(parts.vocab) if piece == unknown), 0)
    return _unigrams(parts, at, _charsmap(parts))


def _albert(parts: Parts) -> Tokenizer:
    return _unigrams(parts, 1, _quoted(parts, accents=False, lower=True))


def _quoted(parts: Parts, *, accents: bool, lower: bool, spaces: bool = False) -> list[Any]:
    """What the kin of ALBERT do to a text."""
    steps: list[Any] = [normalizers.Replace(*pair) for pair in _QUOTES]
    if spaces:
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if not parts.says("keep_accents", accents):
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if parts.says("do_lower_case", lower):
        steps.append(normalizers.Lowercase())
    return steps + _charsmap(parts)


def _rembert(parts: Parts) -> Tokenizer:
    steps = _quoted(parts, accents=True, lower=False, spaces=True)
    return _unigrams(parts, 2, steps, by_words=False)


def _xlnet(parts: Parts) -> Tokenizer:
    # It strips accents whatever keep_accents says.
    plain = replace(
        parts, options={**parts.options, "keep_accents": False, "add_prefix_space": True}
    )
    steps = _quoted(plain, accents=False, lower=False)
    return _unigrams(plain, parts.says("unk_id", 0), steps)


def _deberta_v2(parts: Parts) -> Tokenizer:
    unknown = (parts.text("unk_token"), 0.0)
    at = parts.vocab.index(unknown) if unknown in parts.vocab else parts.says("unk_id", 1)
    steps: list[Any] = [normalizers.Lowercase()] if parts.says("do_lower_case", False) else []
    steps += [
        normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "),
        normalizers.NFC(),
        normalizers.Strip(left=False, right=True),
    ]
    backend = _unigrams(parts, at, steps)
    scheme = "always" if parts.says("add_prefix_space", True) else "first"
    apart = parts.says("split_by_punct", False)
    cuts: list[Any] = [pre_tokenizers.Punctuation(behavior="isolated")] if apart else []
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [*cuts, pre_tokenizers.Metaspace(prepend_scheme=scheme)]
    )
    return backend


def _big_bird(parts: Parts) -> Tokenizer:
    unknown = (parts.text("unk_token"), 0.0)
    at = parts.vocab.index(unknown) if unknown in parts.vocab else 100
    steps = [
        normalizers.Strip(left=False, right=False),
        normalizers.Replace(Regex(r" {2,}"), "▁"),
    ]
    return _unigrams(parts, at, steps, by_words=False)


def _template(single: str, pair: str) -> Callable[[Tokenizer, Parts], Any]:
    """What goes around a text and around two of them; ``{cls}`` is the token of that name."""
    names = sorted(set(re.findall(r"{(\w+)}", single)))

    def template(backend: Tokenizer, parts: Parts) -> Any:
        found = {name: parts.index(backend, f"{name}_token") for name in names}
        written = {name: token for name, (token, _) in found.items()}
        return processors.TemplateProcessing(
            single=single.format(**written),
            pair=pair.format(**written),
            special_tokens=list(found.values()),
        )

    return template


def _roberta_template(backend: Tokenizer, parts: Parts) -> Any:
    ends = (parts.index(backend, "sep_token"), parts.index(backend, "cls_token"))
    trimmed, prefix = parts.says("trim_offsets", True), parts.says("add_prefix_space", False)
    return processors.RobertaProcessing(*ends, trimmed, prefix)


def _extra_ids(options: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"<extra_id_{i}>" for i in range(options.get("extra_ids", 100)))


_SEQUENCE: Final = _template("{cls}:0 $A:0 {sep}:0", "{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1")
_ENDS: Final = _template("{bos} $A {eos}", "{bos} $A {eos} {eos} $B {eos}")
_SPACED_MASK: Final = {"mask_token": {"lstrip": True}}
_PLAIN: Final[Mapping[str, bool]] = {}
_AS_WORDS: Final = {**dict.fromkeys(NAMES[:-1], _PLAIN), **_SPACED_MASK}
_GPT_2: Final = _specials("<|endoftext|> <|endoftext|> <|endoftext|> - - - -")
_QWEN_TOKENS: Final = _specials("- <|endoftext|> <|endoftext|> - <|endoftext|> - -")
_DEBERTA: Final = _specials("[CLS] [SEP] [UNK] [SEP] [PAD] [CLS] [MASK]")

RECIPES: Final[Mapping[str, Recipe]] = {
    AS_IN_FILE: Recipe({}, None),
    "AlbertTokenizer": Recipe(_ALBERT, _albert, _SEQUENCE, file_first=True),
    "BertTokenizer": Recipe(_BERT, _word_pieces, _SEQUENCE, typed=True),
    "BigBirdTokenizer": Recipe(
        _specials("<s> </s> <unk> [SEP] <pad> [CLS] [MASK]"), _big_bird, _SEQUENCE, flags=_AS_WORDS
    ),
    "CamembertTokenizer": Recipe(
        _ROBERTA,
        _camembert,
        _ENDS,
        flags={"mask_token": {"lstrip": True, "special": True}},
        more=lambda _: ("<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"),
    ),
    "ConvBertTokenizer": Recipe(_BERT, None, _SEQUENCE, typed=True),
    "DebertaTokenizer": Recipe(
        _DEBERTA,
        _bytewise,
        _template("{cls} $A {sep}", "{cls} $A {sep} {sep} $B {sep}"),
        typed=True,
    ),
    "DebertaV2Tokenizer": Recipe(_DEBERTA, _deberta_v2, _SEQUENCE, typed=True),
    "DistilBertTokenizer": Recipe(_BERT, _word_pieces, _SEQUENCE),
    "FNetTokenizer": Recipe(_ALBERT, None, typed=True),
    "FunnelTokenizer": Recipe(
        _specials("<s> </s> <unk> <sep> <pad> <cls> <mask>"),
        _funnel,
        _template("{cls}:2 $A:0 {sep}:0", "{cls}:2 $A:0 {sep}:0 $B:1 {sep}:1"),
    ),
    "GPT2Tokenizer": Recipe(_GPT_2, _bytewise),
    "GPTNeoXTokenizer": Recipe(
        {**_GPT_2, "pad_token": "<|padding|>"}, _gpt_neox, _template("$A:0", "$A:0 $B:1")
    ),
    "GemmaTokenizer": Recipe(_specials("<bos> <eos> <unk> - <pad> - <mask>"), _gemma),
    "LlamaTokenizer": Recipe(_specials("<s> </s> <unk> - - - -"), _llama),
    "MPNetTokenizer": Recipe(
        {**_ROBERTA, "unk_token": "[UNK]"}, _word_pieces, _roberta_template, flags=_AS_WORDS
    ),
    "Qwen2Tokenizer": Recipe(_QWEN_TOKENS, _qwen(_QWEN_2), again="plain"),
    "Qwen3_5Tokenizer": Recipe(_QWEN_TOKENS, _qwen(_QWEN_3_5)),
    "RemBertTokenizer": Recipe(_ALBERT, _rembert, _SEQUENCE, needs_file=True, again="as said"),
    "RobertaTokenizer": Recipe(_ROBERTA, _bytewise, _roberta_template),
    "T5Tokenizer": Recipe(
        _specials("- </s> <unk> - <pad> - -"),
        _t5,
        _template("$A {eos}", "$A {eos} $B {eos}"),
        more=_extra_ids,
    ),
    "XLMRobertaTokenizer": Recipe(_ROBERTA, _xlm_roberta, _ENDS),
    "XLNetTokenizer": Recipe(
        _specials("<s> </s> <unk> <sep> <pad> <cls> <mask>"),
        _xlnet,
        _template("$A:0 {sep}:0 {cls}:2", "$A:0 {sep}:0 $B:1 {sep}:1 {cls}:2"),
        flags=_SPACED_MASK,
        more=lambda _: ("<eop>", "<eod>"),
    ),
}
"""By the name of transformers' class."""
