"""Which class of transformers' ``AutoTokenizer`` reads a checkpoint's tokenizer.

transformers takes ``tokenizer.json`` as it is for some classes, and for others builds the tokenizer
anew from the vocabulary and the class's own rules. Pure: names of classes and of model types, as of
the transformers release in ``constraints.txt``; a test holds them against it.
"""

from typing import Final

AS_IN_FILE: Final = "TokenizersBackend"
"""The class that takes ``tokenizer.json`` as it is."""

_GENERIC: Final = frozenset(
    {
        AS_IN_FILE,
        "PreTrainedTokenizerFast",
        "PreTrainedTokenizer",
        "PythonBackend",
        "BloomTokenizer",
        "BloomTokenizerFast",
    }
)
"""Names that end as that class."""

_SAME: Final = {
    "BartTokenizer": "RobertaTokenizer",
    "ElectraTokenizer": "BertTokenizer",
    "LEDTokenizer": "RobertaTokenizer",
    "LayoutLMTokenizer": "BertTokenizer",
    "LongformerTokenizer": "RobertaTokenizer",
    "LxmertTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer",
    "MvpTokenizer": "RobertaTokenizer",
    "SqueezeBertTokenizer": "BertTokenizer",
}
"""Other names of one class."""

_OF_TYPE: Final = {
    name: tokenizer
    for tokenizer, names in {
        "AlbertTokenizer": "albert yoso",
        "BarthezTokenizer": "barthez",
        "BartphoTokenizer": "bartpho",
        "BertJapaneseTokenizer": "bert-japanese",
        "BertTokenizer": "bert bros convbert distilbert electra ernie layoutlm megatron-bert nezha "
        "nomic_bert qdqbert realm retribert squeezebert",
        "BertweetTokenizer": "bertweet",
        "BigBirdTokenizer": "big_bird",
        "BioGptTokenizer": "biogpt",
        "ByT5Tokenizer": "byt5",
        "CTRLTokenizer": "ctrl",
        "CamembertTokenizer": "camembert",
        "CanineTokenizer": "canine",
        "CohereTokenizer": "cohere cohere2",
        "DebertaTokenizer": "deberta",
        "DebertaV2Tokenizer": "deberta-v2",
        "EsmTokenizer": "esm",
        "EsmcTokenizer": "esmc esmfold2",
        "FNetTokenizer": "fnet",
        "FlaubertTokenizer": "flaubert",
        "FunnelTokenizer": "funnel",
        "GPT2Tokenizer": "codegen dbrx gpt2 gpt_neo gptj jais2 opt phi starcoder2",
        "GPTNeoXTokenizer": "falcon_mamba gpt_neox mamba mamba2 mpt olmo olmoe rwkv xlstm",
        "GemmaTokenizer": "gemma gemma2 gemma3 gemma3_text recurrent_gemma t5gemma zaya",
        "LEDTokenizer": "led",
        "LayoutLMv2Tokenizer": "layoutlmv2",
        "LayoutLMv3Tokenizer": "layoutlmv3",
        "LukeTokenizer": "luke",
        "LxmertTokenizer": "lxmert",
        "MBart50Tokenizer": "mbart50",
        "MBartTokenizer": "mbart",
        "MPNetTokenizer": "mpnet",
        "MarkupLMTokenizer": "markuplm",
        "MobileBertTokenizer": "mobilebert",
        "MvpTokenizer": "mvp",
        "NllbTokenizer": "nllb nllb-moe",
        "OpenAIGPTTokenizer": "openai-gpt",
        "PLBartTokenizer": "plbart",
        "PegasusTokenizer": "pegasus",
        "PerceiverTokenizer": "perceiver",
        "PhobertTokenizer": "phobert",
        "ProphetNetTokenizer": "prophetnet",
        "Qwen2Tokenizer": "qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next",
        "Qwen3_5Tokenizer": "qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen4_exp",
        "ReformerTokenizer": "reformer",
        "RemBertTokenizer": "rembert",
        "RoCBertTokenizer": "roc_bert",
        "RoFormerTokenizer": "roformer",
        "RobertaTokenizer": "bart data2vec-text ibert lilt longformer mega mra roberta "
        "roberta-prelayernorm",
        "SplinterTokenizer": "splinter",
        "T5Tokenizer": "mt5 switch_transformers t5",
        "TapasTokenizer": "tapas",
        "XLMRobertaTokenizer": "gte jina_embeddings_v3 xlm-roberta xmod",
        "XLMTokenizer": "xlm",
        "XLNetTokenizer": "xlnet",
        AS_IN_FILE: "arctic bigbird_pegasus camembertv2-base ernie4_5 ernie4_5_moe flex_olmo glm "
        "glm4 glm4_moe glm4_moe_lite gpt_bigcode granite granitemoe granitemoehybrid "
        "granitemoeshared hyperclovax internlm2 internlm3 jamba kimi_linear minicpm3 minimax_m2 "
        "ministral ministral3 mistral mixtral modernbert modernbert-decoder nemotron "
        "nystromformer olmo2 olmo3 olmo_hybrid pegasus_x persimmon phi3 phimoe stablelm umt5 "
        "xlm-roberta-xl",
    }.items()
    for name in names.split()
}
"""Of the model types of texts: the class that transformers registers for each."""

_NOT_AS_STATED: Final = frozenset(
    {"qwen2", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen4_exp"}
)
"""Types whose checkpoints name a wrong class so often that transformers takes the registered one.
Those that it reads as they are need no place here."""


def class_of(model_type: str, stated: str | None, *, bytewise: bool) -> str:
    """The name of the class, without ``Fast``; ``stated`` is what the checkpoint's files name.

    ``bytewise``: ``tokenizer.json`` works on bytes, which a Llama's own class does not.
    """
    registered = _OF_TYPE.get(model_type)
    if stated is None:
        return _plain(registered or AS_IN_FILE)
    plain = stated.removesuffix("Fast")
    if plain == "LlamaTokenizer" and bytewise and model_type not in _NOT_AS_STATED:
        return AS_IN_FILE
    if registered == AS_IN_FILE:
        return AS_IN_FILE
    if registered and registered != plain and model_type in _NOT_AS_STATED:
        return _plain(registered)
    return _plain(stated)


def _plain(name: str) -> str:
    if name in _GENERIC:
        return AS_IN_FILE
    plain = name.removesuffix("Fast")
    return _SAME.get(plain, plain)
