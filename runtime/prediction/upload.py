"""``predict --page``: the drop page over one model, until Ctrl-C."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path

from mutualformer.errors import InputError
from mutualformer.runtime import zoo
from mutualformer.runtime.images import rendering
from mutualformer.runtime.prediction import saving
from mutualformer.runtime.prediction.look import AS_IT_IS
from mutualformer.runtime.prediction.single import predict
from mutualformer.runtime.preview.addresses import is_local, split_address
from mutualformer.runtime.preview.addresses import token as token_of_run
from mutualformer.runtime.session import Device, Session

# What the page shows and offers to save: the file's name → the kind of file that it is.
FILES = {"cutout.png": "cutout", "mask.png": "mask", "objects.json": "json"}
OVERLAY = "overlay.jpg"  # with boxes and distances


def serve(
    model: str,
    address: str,
    token: str | None,
    token_file: Path | None,
    tls: Sequence[Path] | None,
    device: Device,
    threshold: float,
) -> None:
    """Serve the page at ``address`` (PORT or HOST:PORT) until Ctrl-C, which is a KeyboardInterrupt.

    Raises InputError for a model that finds no salient objects, ModelError, AddressError, ServeError.
    """
    from mutualformer.runtime.preview.drop_page import DropPage
    from mutualformer.runtime.preview.server import Server, announce

    access = token_of_run(not is_local(split_address(address, "--page")[0]), file=token_file, argument=token)
    server = Server(address, access.text, option="--page", tls=(tls[0], tls[1]) if tls else None)
    with zoo.load(model, device=device) as session:
        if session.contract.task != "sod":
            raise InputError(f"{session.contract.model} compares identities: --page is for salient objects")
        DropPage(server, lambda photo, depth: files(session, photo, depth, threshold))
        with server:
            announce([("page", server, "")], access)
            threading.Event().wait()


def files(session: Session, photo: bytes, depth: bytes, threshold: float) -> dict[str, bytes]:
    """The bytes of :data:`FILES`, :data:`OVERLAY`, and of ``notes.txt``: what is odd about the input, one line each.

    ``photo``, ``depth``: a picture's and a depth map's file; no bytes: no depth map. Raises InputError, DataError.
    """
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        result = predict(session, photo, depth or None, threshold=threshold)
    made = {name: saving.encoded(result, kind, Path(name).suffix, AS_IT_IS) for name, kind in FILES.items()}
    made[OVERLAY] = rendering.encoded(result.annotated(), ".jpg", result.icc)
    return {**made, "notes.txt": "\n".join(str(note.message) for note in notes).encode()}
