"""A tiny language model with a tokenizer, as a folder of Hugging Face."""

from pathlib import Path

import torch
import transformers
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

WORDS = (
    *("<pad>", "<s>", "</s>", "<unk>", "<user>", "<answer>", " ", "\n", ".", ":", ";", ",", "?"),
    *("red", "blue", "green", "lamp", "chair", "table", "shop", "Items", "item", "title", "code"),
    *("of", "the", "next", "one", "Write", "Which", "customer", "chose"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def write_language_model(
    folder: Path, kind: str = "Llama", *, chat: bool = False, tied: bool = True
) -> Path:
    """Writes a model of random weights whose tokenizer knows some words and every space."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=32,
        initializer_range=0.2,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.generation_config.update(temperature=0.1, top_k=1, do_sample=True)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(
        WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = Split(Regex(r"<\w+>|\w+|\s|[^\w\s]"), behavior="isolated")
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=["<user>", "<answer>"],
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return folder
