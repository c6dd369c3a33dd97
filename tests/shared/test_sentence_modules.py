"""Folders of sentence-transformers, read: what each file states, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.model_spec import ModelRefused, ModelSpec, Task
from shared.models.embedding import Dense, Embedding, LayerNorm, Normalize, Pooling
from shared.repository import open_repository
from tests.sentence_folders import (
    NORMALIZE,
    Part,
    add_modules,
    dense,
    new_pooling,
    pooling,
)
from tests.shared.models import checkpoint, model_toml

BERT = {"architectures": ["BertModel"], "max_position_embeddings": 512}
MEAN = pooling("mean_tokens")
TRANSFORMER_OF_6_2 = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}


def sentences(folder: Path, *parts: Part, transformer: str = "", **how: Any) -> Path:
    """A folder whose weights are all empty files."""
    checkpoint(folder / transformer, **BERT)
    for place in add_modules(folder, parts, transformer=transformer, **how):
        if place.name.endswith(("Dense", "LayerNorm")):
            (place / "model.safetensors").touch()
    return folder


def spec_of(folder: Path, *, weights: bool = True) -> ModelSpec:
    return open_repository([], str(folder), weights=weights).default


def stated(folder: Path) -> Embedding:
    embedding = spec_of(folder).embedding
    assert embedding is not None
    return embedding


def refused(folder: Path, *, weights: bool = True) -> str:
    with pytest.raises(ModelRefused) as refusal:
        spec_of(folder, weights=weights)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("part", "modes"),
    [
        (pooling("cls_token"), (Pooling.CLS,)),
        (pooling("max_tokens"), (Pooling.MAX,)),
        (pooling("mean_tokens"), (Pooling.MEAN,)),
        (pooling("mean_sqrt_len_tokens"), (Pooling.MEAN_SQRT_LEN,)),
        (pooling("weightedmean_tokens"), (Pooling.WEIGHTED_MEAN,)),
        (pooling("lasttoken"), (Pooling.LAST,)),
        (pooling("mean_tokens", "max_tokens", "cls_token"), tuple(Pooling)[:3]),
        (pooling(), (Pooling.MEAN,)),
        *((new_pooling(mode.value), (mode,)) for mode in Pooling),
        (new_pooling(["mean", "cls"]), (Pooling.MEAN, Pooling.CLS)),
        (new_pooling("max", pooling_mode_cls_token=True), (Pooling.MAX,)),
    ],
)
def test_every_pooling_is_read_in_the_order_in_which_the_library_computes_it(
    tmp_path: Path, part: Part, modes: tuple[Pooling, ...]
) -> None:
    assert stated(sentences(tmp_path / "it", part)) == Embedding(pooling=modes)


def test_a_folder_as_written_since_5_4_needs_no_file_of_ours(tmp_path: Path) -> None:
    folder = sentences(
        tmp_path / "it",
        new_pooling("cls", include_prompt=True),
        dense(module_input_name="sentence_embedding", module_output_name="sentence_embedding"),
        Part("Normalize", {"module_input_name": "sentence_embedding"}),
        new=True,
        settings=TRANSFORMER_OF_6_2,
        whole={"model_type": "SentenceTransformer", "prompts": {"query": "", "document": ""}},
    )

    spec = spec_of(folder)

    assert spec.task is Task.SENTENCE_EMBEDDING
    assert (spec.text.prompt, spec.text.lower_case, spec.text.max_tokens) == ("", False, 512)
    tanh = Dense(
        file=folder / "2_Dense" / "model.safetensors",
        inputs=32,
        outputs=16,
        bias=True,
        activation="Tanh",
        residual=False,
    )
    assert spec.embedding == Embedding(pooling=(Pooling.CLS,), steps=(tanh, Normalize()))


def test_all_that_the_older_files_say_is_read(tmp_path: Path) -> None:
    relu = "torch.nn.modules.activation.ReLU"
    folder = sentences(
        tmp_path / "it",
        Part("Normalize", {"module_input_name": "token_embeddings"}),
        pooling("mean_tokens", include_prompt=False),
        Part("Dropout", {"dropout": 0.1}),
        dense(32, 32, bias=False, activation_function=relu, use_residual=True),
        Part("LayerNorm", {"dimension": 32}),
        NORMALIZE,
        settings={"max_seq_length": 600, "do_lower_case": True},
        whole={
            "prompts": {"query": "search: ", "none": None},
            "default_prompt_name": "query",
            "truncate_dim": 8,
        },
    )
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 20}')

    spec = spec_of(folder)

    assert (spec.text.prompt, spec.text.lower_case) == ("search: ", True)
    assert (
        spec.text.max_tokens == 512
    )  # max_seq_length counts, and no more than there are positions
    assert spec.embedding == Embedding(
        token_steps=(Normalize(),),
        pooling=(Pooling.MEAN,),
        include_prompt=False,
        steps=(
            Dense(
                file=folder / "4_Dense" / "model.safetensors",
                inputs=32,
                outputs=32,
                bias=False,
                activation="ReLU",
                residual=True,
            ),
            LayerNorm(file=folder / "5_LayerNorm" / "model.safetensors", size=32),
            Normalize(),
        ),
        dimensions=8,
    )


@pytest.mark.parametrize(
    ("limit", "tokenizer", "tokens"), [(256, 128, 256), (None, 128, 128), (None, 10**30, 512)]
)
def test_a_limit_of_sentences_counts_in_place_of_the_tokenizers(
    tmp_path: Path, limit: int | None, tokenizer: int, tokens: int
) -> None:
    folder = sentences(
        tmp_path / "it", MEAN, settings={"max_seq_length": limit, "do_lower_case": False}
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": tokenizer}))

    assert spec_of(folder).text.max_tokens == tokens


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    folder = sentences(
        tmp_path / "it",
        replace(pooling("cls_token"), folder="pooled vectors"),
        transformer="0_Transformer",
        settings={"max_seq_length": 99, "do_lower_case": False},
    )

    spec = spec_of(folder)

    assert spec.folder == folder / "0_Transformer"
    assert (spec.text.max_tokens, stated(folder).pooling) == (99, (Pooling.CLS,))


@pytest.mark.parametrize("toml", [None, 'description = "mine"\n', 'task = "sentence-embedding"\n'])
@pytest.mark.parametrize("transformer", ["", "0_Transformer"])
def test_a_version_of_the_repository_needs_no_word_of_ours(
    tmp_path: Path, toml: str | None, transformer: str
) -> None:
    sentences(tmp_path / "mini" / "1", pooling("cls_token"), NORMALIZE, transformer=transformer)
    if toml:
        model_toml(tmp_path / "mini", toml)

    spec = open_repository([tmp_path], "mini", weights=True).default

    assert spec.task is Task.SENTENCE_EMBEDDING
    assert spec.embedding == Embedding(pooling=(Pooling.CLS,), steps=(Normalize(),))


def test_what_the_model_file_says_of_the_vectors_counts_before_the_folder(tmp_path: Path) -> None:
    sentences(tmp_path / "mini" / "1", pooling("max_tokens"), dense(), NORMALIZE)
    model_toml(tmp_path / "mini", 'pooling = "lasttoken"\nnormalize = false\n')

    last = open_repository([tmp_path], "mini", weights=True).default.embedding

    assert last is not None
    assert last.pooling == (Pooling.LAST,)
    assert ([type(step) for step in last.steps], last.normalize) == ([Dense], False)

    model_toml(tmp_path / "mini", "normalize = true\n")

    scaled = open_repository([tmp_path], "mini", weights=True).default.embedding
    assert scaled is not None
    assert (scaled.pooling, scaled.normalize) == ((Pooling.MAX,), True)


def test_a_pooling_that_does_not_fit_the_layer_after_it_is_refused(tmp_path: Path) -> None:
    sentences(tmp_path / "mini" / "1", pooling("max_tokens", "mean_tokens"), dense(64))
    model_toml(tmp_path / "mini", 'pooling = "cls"\n')

    with pytest.raises(ModelRefused, match=r'model\.toml: pooling = "cls" makes shorter vectors'):
        open_repository([tmp_path], "mini", weights=True)


def test_without_modules_the_mean_counts_and_of_a_causal_model_the_last_token(
    tmp_path: Path,
) -> None:
    checkpoint(tmp_path / "a" / "1", architectures=["BertModel"])
    checkpoint(tmp_path / "b" / "1", architectures=["Qwen2ForCausalLM"])
    for name in ("a", "b"):
        model_toml(tmp_path / name, 'task = "sentence-embedding"\n')

    repository = open_repository([tmp_path], "a", weights=True)

    said = [repository.find(name, None).embedding for name in ("a", "b")]
    assert said == [
        Embedding(pooling=(mode,), normalize=True) for mode in (Pooling.MEAN, Pooling.LAST)
    ]


def test_a_cross_encoder_is_no_embedding(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "pairs")  # of ForSequenceClassification
    add_modules(folder, [], whole={"model_type": "CrossEncoder"})

    assert spec_of(folder).task is Task.TEXT_CLASSIFICATION


def test_a_cross_encoder_is_none_where_the_model_file_says_so_either(tmp_path: Path) -> None:
    checkpoint(tmp_path / "pairs" / "1")
    add_modules(tmp_path / "pairs" / "1", [], whole={"model_type": "CrossEncoder"})
    model_toml(tmp_path / "pairs", 'task = "sentence-embedding"\n')

    with pytest.raises(ModelRefused, match='model_type = "CrossEncoder" answers no sentence emb'):
        open_repository([tmp_path], "pairs", weights=True)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([], "modules.json: lists no Pooling"),
        ([Part("Pooling")], "1_Pooling/config.json: there is no such file"),
        ([MEAN, MEAN], "2_Pooling/config.json: is a second Pooling"),
        (
            [MEAN, Part("Magic", type="sentence_transformers.models.Magic")],
            (
                "modules.json: lists sentence_transformers.models.Magic, which is not computed "
                "here, only sentence-transformers' own Pooling, Dense, LayerNorm, Normalize, "
                'Dropout: serve the model with backend = "python"'
            ),
        ),
        ([Part("Router", type="mine.Router"), MEAN], "modules.json: lists mine.Router, which is "),
        ([Part("Pooling", type="mine.Pooling")], "modules.json: lists mine.Pooling, which is not"),
        (
            [new_pooling("median")],
            (
                "1_Pooling/config.json: cannot be read: Invalid enum value 'median' - at "
                "`$.pooling_mode`"
            ),
        ),
        (
            [pooling("mean_tokens", pooling_mode_cls_token="yes")],
            (
                "1_Pooling/config.json: cannot be read: Expected `bool`, got `str` - at "
                "`$.pooling_mode_cls_token`"
            ),
        ),
        ([pooling("newest_tokens")], "unknown field `pooling_mode_newest_tokens`"),
        (
            [Part("Pooling", {"pooling_mode": "mean"})],
            "1_Pooling/config.json: states no embedding_dimension: write the size of a token's",
        ),
        (
            [MEAN, dense(64)],
            "2_Dense/config.json: in_features = 64, and the modules before it make a vector of 32",
        ),
        (
            [MEAN, dense(), Part("LayerNorm", {"dimension": 32})],
            "3_LayerNorm/config.json: dimension = 32, and the modules before it make a vector ",
        ),
        (
            [MEAN, dense(activation_function="transformers.activations.GELUActivation")],
            (
                "2_Dense/config.json: activation_function = "
                '"transformers.activations.GELUActivation" is not computed here, only CELU, ELU'
            ),
        ),
        (
            [MEAN, dense(activation_function="os.system.Tanh")],
            '2_Dense/config.json: activation_function = "os.system.Tanh" is not computed here',
        ),
        ([dense(), MEAN], '1_Dense/config.json: module_input_name = "sentence_embedding", and '),
        (
            [MEAN, dense(module_input_name="token_embeddings")],
            (
                '2_Dense/config.json: module_input_name = "token_embeddings", and '
                "modules.json lists it after the Pooling"
            ),
        ),
        (
            [MEAN, dense(module_output_name="other")],
            'module_input_name = "sentence_embedding" with module_output_name = "other"',
        ),
    ],
)
def test_a_module_that_cannot_be_computed_exactly_is_refused_by_file_and_key(
    tmp_path: Path, parts: list[Part], told: str
) -> None:
    assert told in refused(sentences(tmp_path / "it", *parts))


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("modules.json", "{}", "modules.json: cannot be read: Expected `array`, got `object`"),
        ("modules.json", "[]", "modules.json: lists no module: write it again with save_pretr"),
        ("modules.json", '[{"type": 1, "path": ""}]', "Expected `str`, got `int` - at `$[0].type`"),
        ("modules.json", '[{"path": ""}]', "missing required field `type` - at `$[0]`"),
        ("modules.json", "[", "modules.json: cannot be read: "),
        (
            "modules.json",
            '[{"type": "sentence_transformers.models.Transformer", "path": "../x"}]',
            'modules.json: path = "../x" leads out of the model\'s folder',
        ),
        (
            "modules.json",
            '[{"type": "sentence_transformers.models.StaticEmbedding", "path": ""}]',
            (
                "modules.json: lists sentence_transformers.models.StaticEmbedding, which is not "
                "computed here, only sentence-transformers' own Transformer in the first place"
            ),
        ),
        (
            "config_sentence_transformers.json",
            '{"model_type": "SparseEncoder"}',
            'config_sentence_transformers.json: model_type = "SparseEncoder" answers no sentence',
        ),
        (
            "config_sentence_transformers.json",
            '{"prompts": {"query": "q: "}, "default_prompt_name": "qurey"}',
            'default_prompt_name = "qurey" is none of its prompts: write one of query, document',
        ),
        ("config_sentence_transformers.json", '{"truncate_dim": 0}', "at `$.truncate_dim`"),
        ("config_sentence_transformers.json", '{"prompts": []}', "at `$.prompts`"),
        ("sentence_bert_config.json", '{"max_seq_length": "long"}', "at `$.max_seq_length`"),
        ("sentence_bert_config.json", '{"max_length": 5}', "unknown field `max_length`"),
        (
            "sentence_bert_config.json",
            '{"transformer_task": "sequence-classification"}',
            'transformer_task = "sequence-classification" is not applied here',
        ),
        (
            "sentence_bert_config.json",
            '{"modality_config": {"message": {}}}',
            'modality_config = {"message":{}} is not applied here: leave it out if',
        ),
        (
            "sentence_bert_config.json",
            '{"tokenizer_args": {"truncation_side": "left"}}',
            'tokenizer_args = {"truncation_side":"left"} is not applied here',
        ),
    ],
)
def test_json_of_the_wrong_shape_is_refused_by_file_and_key(
    tmp_path: Path, file: str, content: str, told: str
) -> None:
    folder = sentences(tmp_path / "it", MEAN)
    (folder / file).write_text(content)

    said = refused(folder)

    assert said.startswith(f"{folder / file}: ")
    assert told in said


def test_arguments_without_effect_on_the_vectors_are_no_reason_to_refuse(tmp_path: Path) -> None:
    settings = {"model_args": {"dtype": "float16", "attn_implementation": "sdpa"}}

    assert spec_of(sentences(tmp_path / "it", MEAN, settings=settings)).embedding is not None


def test_a_layer_whose_weights_are_a_pickle_is_refused_where_they_are_to_be_loaded(
    tmp_path: Path,
) -> None:
    folder = sentences(tmp_path / "it", MEAN, dense())
    weights = folder / "2_Dense" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))

    assert spec_of(folder, weights=False).embedding is not None
    assert (
        f"{weights}: there is no such file, only a pytorch_model.bin, and no other format is "
        "loaded: open the model with sentence-transformers where you trust it and write it with "
        "save_pretrained"
    ) in refused(folder)

    (folder / "2_Dense" / "pytorch_model.bin").unlink()

    assert f"{weights}: there is no such file, and no other format" in refused(folder)


def test_a_model_of_ones_own_python_may_lie_beside_any_modules(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    add_modules(folder / "1", [Part("Magic")], whole={"model_type": "SparseEncoder"})
    (folder / "1" / "model.py").touch()
    model_toml(folder, 'task = "custom"\nbackend = "python"\nsample = "x"\n')

    assert open_repository([tmp_path], "mine", weights=True).default.task is Task.CUSTOM
