"""One request to a Triton Inference Server that serves this repository: a picture in, the answer out.

python client.py PHOTO [--depth FILE] [--nir FILE] [--server HOST:PORT] [--model NAME] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import tritonclient.grpc as grpc

from mutualformer.runtime.contract import Contract
from mutualformer.runtime.preprocess import prepare, restore
from mutualformer.runtime.sources.depth import read_depth
from mutualformer.runtime.sources.pictures import read_colour
from mutualformer.runtime.untrusted.typed_json import parse_json

HERE = Path(__file__).resolve().parent
TYPES = {"uint8": "UINT8", "float32": "FP32"}


def ask(server: str, model: str, inputs: dict[str, np.ndarray], output: str) -> np.ndarray:
    """Send one batch; ``inputs`` by tensor name, batch first."""
    client = grpc.InferenceServerClient(server)
    tensors = []
    for name, value in inputs.items():
        tensor = grpc.InferInput(name, list(value.shape), TYPES[value.dtype.name])
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    answer = client.infer(model, tensors, outputs=[grpc.InferRequestedOutput(output)]).as_numpy(output)
    if answer is None:
        raise RuntimeError(f"the server's answer has no {output}")
    return np.asarray(answer)


def main() -> int:
    """Parse and run; returns the exit code."""
    contract = Contract.from_json(parse_json((HERE / "contract.json").read_text()))
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("photo", type=Path)
    arguments.add_argument("--depth", type=Path, help="16-bit PNG in millimetres; without it depth is unknown")
    arguments.add_argument("--nir", type=Path, help="near-infrared picture, for a re-identification model")
    arguments.add_argument("--server", default="127.0.0.1:8001")
    arguments.add_argument("--model", default=contract.model)
    arguments.add_argument("--out", type=Path, default=Path("answer.png"), help="mask.png, or feature.npy")
    args = arguments.parse_args()
    rgb = read_colour(args.photo)
    if contract.task == "sod":
        second = read_depth(args.depth) if args.depth else np.zeros(rgb.shape[:2], np.float32)
        saliency = ask(args.server, args.model, prepare(contract, rgb, second), "saliency")[0]
        mask = np.rint(255 * restore(saliency, rgb.shape[:2])).astype(np.uint8)
        args.out.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    else:
        if args.nir is None:
            arguments.error("this model wants --nir")
        feature = ask(args.server, args.model, prepare(contract, rgb, read_colour(args.nir)), "feature")[0]
        np.save(args.out, feature)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
