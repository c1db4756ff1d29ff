"""Times constrained beam search against Hugging Face `generate` and against the physical floor.

Both sides decode the same histories with the same weights, beams and normaliser; equal beams and
scores are asserted. The floor is the cost of the network if searching costs nothing: one native
prompt forward with logits at the last position, plus one forward of beams · (levels - 1) tokens per
user that attend to the prompt. The last line is one JSON object; times are medians per user.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --beams 20 --repeats 7 --skip-hf
    python benchmarks/decoding.py --language-model runs/smollm2 --batch 4 --levels 3 --hf-repeats 1

With --language-model, both sides run this language model, with new tokens for the codes.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sidestep.catalog.trie import Trie
from sidestep.model.config import TransformerConfig
from sidestep.model.semantic_id_model import SemanticIdModel
from sidestep.model.transformer import Transformer
from sidestep.search.beam import BeamSearch
from sidestep.search.policy import Scope
from sidestep.search.tree import Candidates
from sidestep.step import ROOT_SLOT, HistoryBatch


def main() -> None:
    """Runs the benchmark with the sizes of the command line."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    sizes = (arguments.codebook_size,) * arguments.levels
    ids = torch.randint(
        arguments.codebook_size, (arguments.items, arguments.levels), generator=generator
    ).unique(dim=0)
    device = torch.device(arguments.device)
    model = made(arguments, ids, sizes).eval().to(device)
    trie = Trie.build(ids, sizes).to(device)
    histories = HistoryBatch(
        items=torch.randint(len(ids), (arguments.batch, arguments.history), generator=generator),
        lengths=torch.full((arguments.batch,), arguments.history),
    ).to(device)
    policy = BeamSearch(num_beams=arguments.beams)
    scope = Scope(trie=trie)

    ours, candidates = timed(lambda: policy.search(model, histories, scope), arguments.repeats)
    floor, _ = timed(lambda: forward_floor(model, histories, arguments.beams), arguments.repeats)
    users = arguments.batch
    result: dict[str, Any] = {
        "benchmark": "decoding",
        "sizes": {name: value for name, value in vars(arguments).items() if name != "skip_hf"},
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "ours_ms_per_user": statistics.median(ours) * 1000 / users,
        "floor_ms_per_user": statistics.median(floor) * 1000 / users,
        "ratio_to_floor": statistics.median(ours) / statistics.median(floor),
        "ours_s": ours,
        "floor_s": floor,
        "hf_ms_per_user": None,
        "speedup_vs_hf": None,
        "max_score_difference": None,
    }
    if not arguments.skip_hf:
        other = decoded(model, histories)
        theirs, output = timed(hf_generate(other, trie, arguments.beams), arguments.hf_repeats)
        result["hf_s"] = theirs
        result["hf_ms_per_user"] = statistics.median(theirs) * 1000 / users
        result["speedup_vs_hf"] = statistics.median(theirs) / statistics.median(ours)
        result["max_score_difference"] = score_difference(
            candidates, output, trie, other.code_tokens
        )
    print(json.dumps(result))


def parsed() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, what in (
        ("batch", 32, "users decoded together"),
        ("history", 20, "past items per user"),
        ("levels", 4, "codes per item"),
        ("codebook-size", 256, "codes per level"),
        ("items", 10_000, "items of the catalog"),
        ("beams", 50, "beams"),
        ("dim", 128, "width of the network"),
        ("layers", 4, "layers of the network"),
        ("heads", 4, "heads of the network"),
        ("threads", torch.get_num_threads(), "threads of torch"),
        ("repeats", 7, "timed runs of ours and of the floor, after a warm-up"),
        ("hf-repeats", 5, "timed runs of Hugging Face's generate, after a warm-up"),
        ("seed", 0, "seed of weights, catalog and histories"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{what} [{default}]")
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="device of both sides [the GPU, if there is one]",
    )
    parser.add_argument("--language-model", help="folder of a language model [a small Transformer]")
    parser.add_argument("--skip-hf", action="store_true", help="time ours and the floor alone")
    return parser.parse_args()


def timed(call: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Times each run after a warm-up. Returns the seconds, and the result of the last run."""
    result = call()
    seconds = []
    for _ in range(repeats):
        wait_for_gpu()
        start = time.perf_counter()
        result = call()
        wait_for_gpu()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def wait_for_gpu() -> None:
    """Waits until the GPU has done all its work. On a CPU, nothing is left to do."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def made(arguments: argparse.Namespace, ids: Tensor, sizes: tuple[int, ...]) -> SemanticIdModel:
    """Makes the network of both sides, over random semantic IDs."""
    if arguments.language_model is None:
        config = TransformerConfig(
            dim=arguments.dim, num_layers=arguments.layers, num_heads=arguments.heads, dropout=0.0
        )
        model = Transformer(config, ids, sizes)
        with torch.no_grad():  # probabilities as peaked as a trained model's, so that beams differ
            model.head.weight.mul_(20)
        return model
    from sidestep.model import language_models
    from sidestep.model.hugging_face import HuggingFaceModel
    from sidestep.model.prompt_tokens import PromptTokens

    language = language_models.read_language_model(arguments.language_model)
    texts = [f"item {number}" for number in range(len(ids))]
    tokens = language_models.add_code_tokens(language, ids, sizes, texts=texts, seed=arguments.seed)
    with torch.no_grad():  # as above
        table = language.model.get_input_embeddings().weight
        table[tokens] = torch.randn_like(table[tokens]) * table.std() * 4
    turn = language.turn(chat=None)
    opening = language.opening("Items that one customer chose, the oldest first:", turn)
    prompt = PromptTokens(opening=opening, codes=tokens)
    return HuggingFaceModel(language.model, ids, sizes, prompt=prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """The language model that `generate` runs, and its prompts.

    code_tokens: the token of each flat code id.
    item_tokens: of the codes of each item.
    """

    language_model: Any
    prompt: Tensor
    code_tokens: Tensor
    pad_token: int
    item_tokens: Tensor


def decoded(model: Any, histories: HistoryBatch) -> Decoded:
    """Gives the network to Hugging Face: as it is, or in the form of a Llama."""
    device = histories.items.device
    every_item = torch.arange(model.num_items, device=device)
    if not isinstance(model, Transformer):
        tokens = model.code_tokens
        return Decoded(
            language_model=model.language_model,
            prompt=model.prompts_of(histories).tokens,
            code_tokens=tokens,
            pad_token=int(model.opening[0]),
            item_tokens=tokens[model.flat_codes(every_item)],
        )
    from transformers import LlamaConfig, LlamaForCausalLM

    export = model.llama_form()
    theirs = LlamaForCausalLM(LlamaConfig(**export.config)).eval()
    theirs.load_state_dict(export.weights)
    tokens = export.code_tokens.to(device)
    written = tokens[model.flat_codes(histories.items)].flatten(1)
    start = torch.full((len(written), 1), export.start_token, device=device)
    return Decoded(
        language_model=theirs.to(device),
        prompt=torch.cat([start, written], dim=1),
        code_tokens=tokens,
        pad_token=export.start_token,
        item_tokens=tokens[model.flat_codes(every_item)],
    )


@torch.no_grad()
def forward_floor(model: Any, histories: HistoryBatch, num_beams: int) -> Tensor:
    """Runs the network alone: the prompt, then all beams of all inner levels at once.

    Every beam is a child of the root and attends to the prompt and to itself. This is the cheapest
    tree.
    """
    users = len(histories.lengths)
    num_nodes = num_beams * (model.num_levels - 1)
    _, context = model.encode(histories, capacity=num_nodes)
    nodes = torch.zeros(users, num_nodes, dtype=torch.long, device=histories.items.device)
    step, _ = model.extend(
        context,
        nodes,
        torch.full_like(nodes, ROOT_SLOT),
        torch.ones_like(nodes),
        is_node=torch.ones_like(nodes, dtype=torch.bool),
    )
    return step.logits


def hf_generate(theirs: Decoded, trie: Trie, num_beams: int) -> Callable[[], Any]:
    """Makes a call of `generate` with the same weights, constrained by a dictionary of prefixes."""
    prompt = theirs.prompt
    legal: dict[tuple[int, ...], list[int]] = {}
    for row in theirs.item_tokens.tolist():
        for depth, token in enumerate(row):
            legal.setdefault(tuple(row[:depth]), []).append(token)
    allowed = {prefix: sorted(set(codes)) for prefix, codes in legal.items()}

    def allowed_tokens(_batch: int, ids: Tensor) -> list[int]:
        return allowed.get(tuple(ids[prompt.shape[1] :].tolist()), [theirs.pad_token])

    def call() -> Any:
        with torch.no_grad():
            return theirs.language_model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=trie.num_levels,
                min_new_tokens=trie.num_levels,
                num_beams=num_beams,
                num_return_sequences=num_beams,
                prefix_allowed_tokens_fn=allowed_tokens,
                renormalize_logits=True,
                do_sample=False,
                length_penalty=0.0,
                early_stopping=True,
                pad_token_id=theirs.pad_token,
                eos_token_id=None,
                output_scores=True,
                return_dict_in_generate=True,
            )

    return call


def score_difference(candidates: Candidates, output: Any, trie: Trie, code_tokens: Tensor) -> float:
    """Largest difference of scores; asserts that both sides found the same beams in order."""
    users, beams = candidates.leaves.shape
    levels = trie.num_levels
    starts = torch.tensor(
        [sum(trie.codebook_sizes[:level]) for level in range(levels)], device=trie.device
    )
    flat_code = torch.zeros(int(code_tokens.max()) + 1, dtype=torch.long, device=trie.device)
    flat_code[code_tokens] = torch.arange(len(code_tokens), device=trie.device)
    theirs = flat_code[output.sequences[:, -levels:].view(users, beams, levels)] - starts
    scores = output.sequences_scores.view(users, beams)
    difference = float((scores - candidates.log_probs).abs().max())
    ours = trie.path(candidates.leaves)
    is_same = (ours == theirs).all(dim=-1)
    # If the order differs, the scores must be equal up to the last digits.
    gap = (candidates.log_probs - scores).abs()
    assert bool((is_same | (gap < 1e-4)).all()), "the two sides found different beams"
    assert float(is_same.float().mean()) > 0.99, f"only {is_same.float().mean():.3f} beams agree"
    return difference


if __name__ == "__main__":
    main()
