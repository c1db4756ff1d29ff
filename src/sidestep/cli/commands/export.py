"""`sidestep export` and `sidestep adopt`: bundles to the layout of Hugging Face, and back."""

from pathlib import Path
from typing import Annotated

import typer

from sidestep.bundle.manifest import bundle_folder
from sidestep.bundle.parts import PARTS
from sidestep.cli.console.next_step import recommendation_by
from sidestep.cli.console.output import print_json, say, warn
from sidestep.cli.options import AsJson
from sidestep.cli.outputs import Overwrite, check_out
from sidestep.lazy_imports import imported_when_used
from sidestep.notices import command
from sidestep.runs.inputs import load_bundle, load_catalog

with imported_when_used():
    from sidestep.bundle import folder as bundles
    from sidestep.bundle import hugging_face, networks, writing
    from sidestep.runs import cards


def export(
    bundle: Annotated[Path, typer.Argument(help="The bundle, or the run that holds it.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Write a bundle as a Hugging Face causal language model, its tokenizer and the catalog.

    For transformers' AutoModelForCausalLM and AutoTokenizer; an item reads "<a_12><b_3><c_200>".
    Only networks that read histories as codes can be exported (model.history: codes, which a
    training says before it begins); what stands beside them stays. README.md is a model card.

    Example: sidestep export runs/my/transformer --out runs/my/llama
    """
    read = bundle_folder(bundle)
    check_out(out, overwrite=overwrite, read=[read], is_kind=hugging_face.check_export_place)
    loaded = load_bundle(read, device="cpu")
    hugging_face.export_hugging_face(out, loaded, card=cards.card_of(read, form="language-model"))
    left_out = [part.words for name, part in PARTS.items() if name in loaded.parts]
    if left_out:
        warn(
            f"the {' and the '.join(left_out)} of {bundle} stayed behind: the layout of Hugging "
            "Face has no place for what stands beside a language model."
        )
    if json:
        print_json({"path": str(out), "kind": loaded.kind, "items": loaded.catalog.num_items})
        return
    say(
        f"Wrote {out}, a Hugging Face language model over {loaded.catalog.num_items:,} items. "
        f"Back to a bundle: {command('adopt', out, '--out', out.with_name(f'{out.name}-bundle'))}"
    )


def adopt(
    folder: Annotated[
        Path, typer.Argument(help="A Hugging Face folder: config.json and *.safetensors.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The bundle to write.")],
    catalog: Annotated[
        Path | None,
        typer.Option(help="The catalog folder; default: the one beside an exported model."),
    ] = None,
    max_history: Annotated[
        int | None,
        typer.Option(min=1, help="Most recent items to show; default: as exported, else 20."),
    ] = None,
    native: Annotated[
        bool | None,
        typer.Option(
            help="Run it as the native Transformer, or as it is; default: native for Llama and "
            "Qwen2."
        ),
    ] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Make a bundle of a Hugging Face causal language model that writes semantic IDs.

    Which token is which code says sidestep_tokens.json in the folder, else the tokenizer, whose
    tokens <a_0>, <a_1>, ..., <b_0>, ... are the codes level by level.

    Examples:

      sidestep adopt runs/my/llama --out runs/my/bundle

      sidestep adopt models/qwen-on-ids --catalog runs/my/catalog --out runs/my/bundle
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no folder of a language model here.")
    read = [folder, catalog]
    check_out(out, overwrite=overwrite, read=read, is_kind=writing.check_bundle_place)
    known = load_catalog(catalog or folder / hugging_face.CATALOG_FOLDER)
    tokens = hugging_face.read_token_map(folder, known, max_history=max_history or 20)
    network = hugging_face.network_from_hugging_face(folder, known, tokens, native=native)
    bundles.save_bundle(
        out,
        network=network,
        catalog=known,
        max_history=max_history or tokens.max_history,
        seed=0,
        training={"adopted_from": str(folder)},
    )
    kind = networks.kind_of(network)
    if json:
        print_json({"path": str(out), "kind": kind, "items": known.num_items})
        return
    say(f"Wrote {out}, a {kind}.", then=recommendation_by(out, known))
