"""How many tokens a prompt has, where its tokens are not pooled."""

from tokenizers.normalizers import Lowercase
from transformers import AutoTokenizer

from services.predictor.backends.base import UnknownBackend
from services.predictor.backends.weights import one_line
from shared.model_spec import ModelSpec


def prompt_tokens(spec: ModelSpec) -> int:
    """Of the prompt by itself, a special token at its beginning included, one at its end not.

    So counts sentence-transformers; 0 where the prompt's tokens are pooled as all others.

    Raises:
        UnknownBackend: transformers cannot read the tokenizer, or no text has room after it
    """
    if spec.embedding is None or spec.embedding.include_prompt or not spec.text.prompt:
        return 0
    prompt = spec.text.prompt
    if spec.text.lower_case:
        prompt = Lowercase().normalize_str(prompt)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            spec.folder, local_files_only=True, trust_remote_code=False
        )
        ids = tokenizer(prompt, truncation=True, max_length=spec.text.max_tokens)["input_ids"]
    except Exception as exc:  # the wall: a tokenizer's class raises what it likes
        raise UnknownBackend(
            f"{spec.folder}: transformers cannot count the prompt's tokens, which are not to be "
            f"pooled: {one_line(exc)}: see that AutoTokenizer.from_pretrained loads its tokenizer"
        ) from exc
    ends = ids[-1] in tokenizer.all_special_ids
    if len(ids) >= spec.text.max_tokens:
        raise UnknownBackend(
            f"{spec.folder}: the prompt by itself has {len(ids)} tokens or more, and a text with "
            f"it at most {spec.text.max_tokens}: write a shorter prompt"
        )
    return len(ids) - ends
