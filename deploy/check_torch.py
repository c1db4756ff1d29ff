"""Refuses an image for CPUs whose torch brings CUDA along: `python check_torch.py cpu`."""

import sys

import torch

if sys.argv[1] == "cpu" and torch.version.cuda is not None:
    sys.exit(
        f"torch {torch.__version__} brings CUDA {torch.version.cuda} along, but the image is for "
        "CPUs. Give --build-arg TORCH_INDEX_URL=ADDRESS with the index of PyTorch's wheels for "
        "CPUs, or --build-arg DEVICE=cuda."
    )
