"""TFLite files: the metadata packed into them, the runtime that runs them, and what a damaged one does."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.interpreter import RUNTIMES, installed
from edge.model import DEFAULT_MODEL, load_model
from edge.model.contract import ModelInfo
from edge.model.packed import GRAPH_SHA256, LARGEST, MEMBER, pack, unpack
from edge.model.tflite import TfliteClassifier

SIZE, CLASSES = 16, 7
GRAPH = b"\x1c\0\0\0TFL3" + bytes(range(256)) * 8
"""Not a graph, and good enough for what never looks into one."""

needs_runtime = pytest.mark.skipif(
    not installed(), reason=f"no TFLite runtime is installed here: pip install {next(iter(RUNTIMES))}"
)


# The metadata


def test_no_metadata_is_packed_as_none() -> None:
    assert unpack(pack(GRAPH, {}), "x") == {}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=len(GRAPH_SHA256) - 1), st.text(max_size=50), max_size=5))
def test_what_is_packed_comes_out_and_the_graph_stays(metadata: dict[str, str]) -> None:
    data = pack(GRAPH, metadata)
    assert data.startswith(GRAPH)
    assert unpack(data, "x") == metadata


def test_packing_again_replaces_and_gives_the_same_bytes() -> None:
    first = pack(GRAPH, {"name": "lite0", "licence": "Apache-2.0 – and more"})
    assert pack(pack(GRAPH, {"other": "x" * 1000}), {"licence": "Apache-2.0 – and more", "name": "lite0"}) == first
    # what Python 3.11 on Linux wrote one day: another clock, version or system must write no other
    assert hashlib.sha256(first).hexdigest()[:16] == "6fa41ffe19f52017"


def test_any_zip_tool_reads_and_may_write_it(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(pack(GRAPH, {"name": "lite0"}))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MEMBER]
        text = archive.read(MEMBER)
    squeezed = io.BytesIO(GRAPH)
    with zipfile.ZipFile(squeezed, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "happy\nsad\n")
        archive.writestr(MEMBER, text)
    assert unpack(squeezed.getvalue(), "x") == {"name": "lite0"}


def archived(content: bytes, kind: int = zipfile.ZIP_STORED, name: str = MEMBER) -> bytes:
    """A graph with one file packed behind it."""
    file = io.BytesIO(GRAPH)
    with zipfile.ZipFile(file, "a", kind) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def locked(data: bytes) -> bytes:
    """The same archive, whose entries say that they are encrypted."""
    local, central = data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8
    changed = bytearray(data)
    changed[local] |= 1
    changed[central] |= 1
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no metadata packed into it, or was cut off"),
        (GRAPH, "has no metadata packed into it, or was cut off"),
        (pack(GRAPH, {"name": "lite0"})[:-40], "has no metadata packed into it, or was cut off"),
        (archived(b"{}", name="labels.txt"), "has no metadata packed into it"),
        (archived(b"\xff\xfe{}"), "is damaged .*utf-8"),
        (archived(b"{"), "is damaged"),
        (archived(b"[" * 100_000), "is damaged"),
        (archived(b'["name"]'), "no JSON object of text by key"),
        (archived(b'{"name": 1}'), "no JSON object of text by key"),
        (archived(b'{"name": "lite0"}'), f'no key "{GRAPH_SHA256}"'),
        (archived(json.dumps({GRAPH_SHA256: "0" * 64}).encode()), "is damaged .*another sha256"),
        (archived(b" " * (LARGEST + 1), zipfile.ZIP_DEFLATED), "at most 1,048,576 are read"),
        (archived(b"{}", zipfile.ZIP_LZMA), "packed in a way that is not read"),
        (locked(archived(b"{}")), "is damaged .*encrypted"),
    ],
)
def test_metadata_that_cannot_be_read_is_one_line_that_names_the_file(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"model x.tflite.*{said}") as caught:
        unpack(data, "x.tflite")
    assert "\n" not in str(caught.value)


def test_an_archive_that_lies_about_its_size_fills_no_memory() -> None:
    """The directory says two bytes, the packed stream holds 64 MiB: no more than what is stated is unpacked."""
    data = bytearray(archived(b" " * (1 << 26), zipfile.ZIP_DEFLATED))
    for start in (data.index(b"PK\x03\x04") + 22, data.index(b"PK\x01\x02") + 24):
        data[start : start + 4] = (2).to_bytes(4, "little")
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(InputError, match="is damaged"):
        unpack(bytes(data), "x")
    assert tracemalloc.get_traced_memory()[1] < 1 << 22
    tracemalloc.stop()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_flipped_bit_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    metadata = {"name": "lite0", "labels": '["happy", "sad"]'}
    packed = bytearray(pack(GRAPH, metadata))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack(bytes(packed), "x")
    except InputError:
        return
    assert found == metadata
    assert packed.startswith(GRAPH)


# The runtime


def info() -> ModelInfo:
    """Facts for a small model."""
    shipped = load_model().info
    return replace(shipped, name="tiny", precision="fp32", crop=replace(shipped.crop, size=SIZE))


def layer(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(classes, S * S * 3)` and bias `(classes,)` of the small model, float32."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.002, (CLASSES, SIZE * SIZE * 3)).astype(np.float32)
    return weights, rng.normal(0, 0.1, CLASSES).astype(np.float32)


def expected(crops: np.ndarray) -> np.ndarray:
    """What the small model answers, computed with numpy in float64."""
    weights, bias = layer()
    logits = crops.reshape(len(crops), SIZE * SIZE * 3).astype(np.float64) @ weights.T + bias
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def graph(
    *, kind: str = "UINT8", batch: int = 1, grows: bool = False, classes: int = CLASSES, softmax: bool = True,
    first: str = "CAST",
) -> bytes:  # fmt: skip
    """A real TFLite file: cast to float, one full layer, softmax; without metadata.

    `kind` is the input's type; `grows` says that the batch may vary; `classes` cuts the layer down; `first` is the
    first operator.
    """
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="the small graph is built with ai-edge-litert, not installed here"
    )
    flatbuffers = pytest.importorskip("flatbuffers", reason="the small graph is built with flatbuffers, not installed")
    weights, bias = (values[:classes] for values in layer())
    main, model = schema.SubGraphT(), schema.ModelT()
    main.tensors, main.operators, main.name = [], [], b"main"
    model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [main], [schema.BufferT()], []

    def tensor(shape: list[int], kind: str = "FLOAT32", values: np.ndarray | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type = f"t{len(main.tensors)}".encode(), shape, getattr(schema.TensorType, kind)
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            model.buffers.append(buffer)
            made.buffer = len(model.buffers) - 1
        elif grows:
            made.shapeSignature = [-1, *shape[1:]]
        main.tensors.append(made)
        return len(main.tensors) - 1

    def operator(kind: str, inputs: list[int], output: int, options: Any = None) -> None:
        code, made = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes), inputs, [output]
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        model.operatorCodes.append(code)
        main.operators.append(made)

    count = weights.shape[1]
    crops, values = tensor([batch, SIZE, SIZE, 3], kind), tensor([batch, SIZE, SIZE, 3])
    row, logits, answer = tensor([batch, count]), tensor([batch, classes]), tensor([batch, classes])
    flat = tensor([2], "INT32", np.array([-1, count], np.int32))
    kernel, offset = tensor([classes, count], values=weights), tensor([classes], values=bias)
    operator(first, [crops], values)
    operator("RESHAPE", [values, flat], row)
    operator("FULLY_CONNECTED", [row, kernel, offset], logits, schema.FullyConnectedOptionsT())
    if softmax:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        operator("SOFTMAX", [logits], answer, options)
    main.inputs, main.outputs = [crops], [answer if softmax else logits]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def written(folder: Path, **different: Any) -> Path:
    """A small model file that keeps the contract, or breaks it in what is named."""
    path = folder / "tiny.tflite"
    path.write_bytes(pack(graph(**different), info().to_metadata()))
    return path


def some_crops(count: int) -> np.ndarray:
    """Crops of noise."""
    return np.random.default_rng(7).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


@needs_runtime
@pytest.mark.parametrize("grows", [False, True], ids=["batch of one", "batch that grows"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_answer_is_what_numpy_computes(tmp_path: Path, grows: bool, threads: int) -> None:
    model = load_model(written(tmp_path, grows=grows), threads=threads)
    for count in (0, 1, 5, 3, 1, 0):
        crops = some_crops(count)
        answer = model.classify(crops)
        assert (answer.shape, answer.dtype) == ((count, CLASSES), np.float32)
        assert np.allclose(answer, expected(crops), atol=1e-5)
    assert model.info.to_metadata() == info().to_metadata()
    assert model.runtime.split()[0] in installed()


@needs_runtime
def test_crops_may_lie_anyhow_in_memory_and_answers_stay(tmp_path: Path) -> None:
    """A turned view of other pixels, and an answer that the next call does not write over."""
    model = load_model(written(tmp_path))
    crops = some_crops(4)[::2, :, :, ::-1]
    first = model.classify(crops)
    kept = first.copy()
    model.classify(some_crops(2))
    assert np.array_equal(first, kept)
    assert np.allclose(first, expected(crops), atol=1e-5)


@needs_runtime
@pytest.mark.parametrize("grows", [False, True])
@pytest.mark.parametrize(
    "crops",
    [np.zeros((2, SIZE, SIZE, 3), np.float32), np.zeros((2, 8, 8, 3), np.uint8), np.zeros((SIZE, SIZE, 3), np.uint8)],
    ids=["float", "too small", "one without a batch"],
)
def test_wrong_crops_are_one_line_and_the_next_ones_run(tmp_path: Path, crops: np.ndarray, grows: bool) -> None:
    model = load_model(written(tmp_path, grows=grows))
    with pytest.raises(InputError, match=r"tiny\.tflite fails on \d+ crops: ") as caught:
        model.classify(crops)
    assert "\n" not in str(caught.value)
    assert np.allclose(model.classify(some_crops(3)), expected(some_crops(3)), atol=1e-5)


@needs_runtime
@pytest.mark.parametrize(
    ("different", "said"),
    [
        ({"kind": "FLOAT32"}, r"its input is float32\[1, 16, 16, 3\], expected uint8\[1, 16, 16, 3\]"),
        ({"batch": 4}, r"its input is uint8\[4, 16, 16, 3\], expected uint8\[1, 16, 16, 3\]"),
        ({"classes": 5}, r"its output is float32\[1, 5\], expected float32\[1, 7\] for its labels"),
    ],
)
def test_a_graph_that_breaks_the_contract_is_refused(tmp_path: Path, different: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_model(written(tmp_path, **different))


@needs_runtime
def test_a_graph_that_gives_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gives no probabilities"):
        load_model(written(tmp_path, softmax=False)).classify(np.full((1, SIZE, SIZE, 3), 255, np.uint8))


@needs_runtime
def test_a_graph_that_no_runtime_can_run(tmp_path: Path) -> None:
    """Well packed, so that the runtime itself has to refuse it: its first operator wants two inputs."""
    with pytest.raises(InputError, match=r"tiny\.tflite is no TFLite file that \S+ [\d.]+ can run: \S") as caught:
        load_model(written(tmp_path, first="BATCH_MATMUL"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04 a zip perhaps", b"<html>not found</html>"])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"x\.tflite is no TFLite file"):
        load_model(path)


def test_a_cut_or_spoiled_file_is_refused_before_a_runtime_sees_it(tmp_path: Path) -> None:
    whole = written(tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    for length in (8, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(InputError, match="no metadata packed into it, or was cut off"):
            TfliteClassifier.from_bytes(whole[:length], "x.tflite")
    graph_end = whole.rindex(b"PK\x03\x04")
    for place in rng.integers(8, graph_end, 20):
        spoiled = bytearray(whole)
        spoiled[place] ^= 0xFF
        with pytest.raises(InputError, match="its graph has another sha256"):
            TfliteClassifier.from_bytes(bytes(spoiled), "x.tflite")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model file"):
        load_model(tmp_path / "missing.tflite")


def without(*modules: str) -> str:
    """Lines that make imports of these packages fail, as where they are not installed."""
    return f"import sys; sys.modules.update(dict.fromkeys({[f'{m}.interpreter' for m in modules]!r}));"


def test_without_a_runtime_the_error_says_what_to_install(tmp_path: Path) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(pack(GRAPH, info().to_metadata()))
    code = f"{without(*RUNTIMES.values())} from edge.cli import main; main(['model', 'show', {str(path)!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "pip install ai-edge-litert" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_runtime
def test_a_runtime_can_be_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    for runtime in installed():
        assert load_model(path, runtime=runtime).runtime.startswith(f"{runtime} ")
    missing = [runtime for runtime in RUNTIMES if runtime not in installed()]
    for runtime in missing:
        with pytest.raises(InputError, match=f"nothing here runs a TFLite file: pip install {runtime}"):
            load_model(path, runtime=runtime)


def edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "edge.cli", *arguments], capture_output=True, text=True, timeout=120, check=False
    )


@needs_runtime
def test_commands_take_a_tflite_file_as_they_take_an_onnx_file(tmp_path: Path, portrait: Path) -> None:
    path = str(written(tmp_path))
    shown = edge("model", "show", path, "--json")
    assert shown.returncode == 0, shown.stderr
    facts = json.loads(shown.stdout)
    assert (facts["name"], facts["crop"]["size"]) == ("tiny", SIZE)
    assert facts["runtime"].split()[0] in installed()
    ran = edge("run", "--source", str(portrait), "--model", path, "--stdout")
    assert ran.returncode == 0, ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert {event["model"][:9] for event in events} == {"tiny-fp32"}
    (tmp_path / "pictures" / "happy").mkdir(parents=True)
    (tmp_path / "pictures" / "happy" / "a.png").write_bytes(portrait.read_bytes())
    scored = edge("evaluate", path, str(tmp_path / "pictures"), "--json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["n"] == 1


def test_show_names_the_runtime_of_the_shipped_model() -> None:
    shown = edge("model", "show", str(DEFAULT_MODEL))
    assert "onnxruntime" in shown.stdout
    (fitted,) = [line for line in shown.stdout.splitlines() if line.strip().startswith("calibration")]
    assert " pictures, " in fitted
    assert "{" not in shown.stdout, "what a person reads is no dictionary"
