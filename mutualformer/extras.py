"""Optional packages: which extra of ``pyproject.toml`` brings one, and how to tell a user to install it.

It lies beside the stages, because all of them have optional packages.
"""

from __future__ import annotations

# Import name → extra, for packages that the base installation does without.
EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "timm", "lightning", "safetensors", "tensorboard", "matplotlib"), "train"),
    "tomli": "train",
    "triton": "kernels",
    "kernel_lens": "plugin",
    "onnxscript": "export",
    "tensorrt_rtx": "rtx",
    "tensorrt": "tensorrt",
    "cuda": "cuda",
    "pycuda": "pycuda",
    "tritonclient": "serving",
    "ray": "ray",
    "huggingface_hub": "hub",
    "rerun": "rerun",
    "OpenEXR": "exr",
    "av": "video",
    "rosbags": "ros",
    "pillow_heif": "heic",
    "pyrealsense2": "realsense",
    "depthai": "oak",
    "pyorbbecsdk": "orbbec",
}


def install(extra: str) -> str:
    """How to add the packages of ``extra``. No package index has this project; a checkout and a wheel have it."""
    return f"pip install '.[{extra}]' in the checkout, or the wheel with [{extra}]"


def missing(module: str) -> str:
    """``Python package 'torch' is missing: pip install '.[train]' in the checkout, or the wheel with [train]``."""
    package = module.split(".")[0]
    extra = EXTRAS.get(package)
    return f"Python package {module!r} is missing: {install(extra) if extra else f'pip install {package}'}"
