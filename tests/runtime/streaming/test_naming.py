"""Objects of a stream get names from a gallery; their boxes are cut out of both pictures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mutualformer.runtime.images.objects import SalientObject
from mutualformer.runtime.sources.frame import Frame
from mutualformer.runtime.streaming.gallery import UNKNOWN, Gallery
from mutualformer.runtime.streaming.naming import AGAIN, Box, Naming, cut
from mutualformer.runtime.streaming.pipeline import Pipeline
from tests.runtime.fakes import FakeSession, ScriptedCamera

LEFT, RIGHT = (0.1, 0.25, 0.4, 0.75), (0.6, 0.25, 0.9, 0.75)


def two_things() -> Frame:
    """A red thing on the left, an orange one on the right."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[12:36, 6:26], rgb[12:36, 38:58] = (250, 0, 0), (250, 120, 0)
    return Frame(rgb, np.zeros((48, 64), np.float32), 0.0, 0.0, 0)


def known(session: FakeSession) -> Gallery:
    """A gallery of both, from their whole boxes."""
    gallery, naming = Gallery(session.contract), Naming(session, Gallery(session.contract))
    for name, box in (("red", LEFT), ("orange", RIGHT)):
        gallery.add([(name, naming.feature(two_things(), box), cut(two_things().rgb, box))])
    return gallery


def test_every_object_of_a_stream_gets_its_name_within_as_many_frames() -> None:
    session = FakeSession(task="reid", size=(8, 8))
    camera = ScriptedCamera(lambda index: two_things() if index < 3 else None, live=False)
    naming = Naming(session, known(session))
    results = Pipeline(lambda: camera, FakeSession(), naming=naming, frames=3).results()
    names = [{one["box"][0] < 0.5: one.get("name") for one in result.to_json()["objects"]} for result in results]
    assert names[0].keys() == {True, False}
    assert list(names[0].values()).count(None) == 1, "one object a frame is looked up"
    assert names[1] == names[2] == {True: "red", False: "orange"}


def test_named_objects_are_looked_up_again_in_some_frames_only(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(task="reid", size=(8, 8))
    naming, looked = Naming(session, known(session)), [0]
    feature = naming.feature

    def counted(frame: Frame, box: Box) -> NDArray[np.float32]:
        looked[-1] += 1
        return feature(frame, box)

    monkeypatch.setattr(naming, "feature", counted)
    objects = [SalientObject(box, 0.1, 0.9, None, None, number) for number, box in enumerate((LEFT, RIGHT))]
    for _ in range(4 * AGAIN - 1):
        named = [one.name for one in naming(two_things(), objects)]
        looked.append(0)
    assert named == ["red", "orange"]
    assert looked[:2] == [1, 1], "both get a name as soon as they are there"
    assert sum(looked) == 2 + 3, "then one of them is looked up in every AGAINth frame"


def test_objects_without_identity_are_all_looked_up() -> None:
    session = FakeSession(task="reid", size=(8, 8))
    objects = [SalientObject(box, 0.1, 0.9, None, None) for box in (LEFT, RIGHT)]
    named = Naming(session, known(session))(two_things(), objects)
    assert [one.name for one in named] == ["red", "orange"]
    assert all(one.similarity is not None and one.similarity > 0.99 for one in named)
    empty = Naming(session, Gallery(session.contract))(two_things(), objects)
    assert {one.name for one in empty} == {UNKNOWN}


def test_a_box_at_the_edge_is_cut_at_the_edge_and_never_empty() -> None:
    picture = np.arange(40 * 60 * 3, dtype=np.uint32).astype(np.uint8).reshape(40, 60, 3)
    assert cut(picture, (0.0, 0.0, 1.0, 1.0)).shape == picture.shape
    assert cut(picture, (0.5, 0.5, 0.5, 0.5)).shape == (1, 1, 3)
    assert cut(picture, (1.0, 1.0, 1.0, 1.0)).size
    assert cut(picture, (0.25, 0.25, 0.5, 0.5)).shape[0] == 12
