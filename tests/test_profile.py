"""Which step a stack belongs to: the one that stands for it on the stack, and nothing for a thread that waits."""

from __future__ import annotations

import pytest

from scripts.bench.profile import table

LOOP = "Runner.run (edge/run.py:151);Runner._steps (edge/run.py:198);Loop.step (edge/loop.py:92)"
FOLLOW = f"{LOOP};Follower.update (edge/follow.py:115)"


@pytest.mark.parametrize(
    ("stack", "step"),
    [
        ("_iterate (edge/sources/capture.py:80);read (edge/sources/camera.py:9)", "decode"),
        (
            f"{FOLLOW};Fallback.refine (edge/detect/fallback.py:8);_look (edge/detect/mtcnn.py:4)",
            "refine followed faces",
        ),
        (f"{FOLLOW};in_pieces (edge/detect/__init__.py:1);Mtcnn.search (edge/detect/mtcnn.py:4)", "search the picture"),
        (f"{FOLLOW};Motion.change (edge/motion.py:70)", "look for motion"),
        (f"{FOLLOW};match (edge/track.py:70)", "follow and track"),
        (f"{LOOP};OnnxClassifier.classify (edge/model/onnx.py:3)", "classify"),
        (LOOP, "the loop itself"),
        ("_run_module_as_main (<frozen runpy>:198);<module> (edge/cli.py:1)", "start and end"),
    ],
)
def test_a_stack_and_its_step(stack: str, step: str) -> None:
    figures = table(f"{stack} 30\n", frames=10)
    assert figures["ms_per_frame"] == {step: 30.0}
    assert figures["share"] == {step: 1.0}


def test_who_waits_takes_no_time() -> None:
    waiting = "Thread.run (threading.py:982);Event.wait (threading.py:629);Condition.wait (threading.py:331)"
    assert table(f"{waiting} 50\n{LOOP} 10\n", frames=10)["samples"] == 10
