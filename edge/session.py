"""One way to start an ONNX Runtime session on the processor, for detectors and classifiers alike."""

from __future__ import annotations

import onnxruntime as ort

from edge.errors import InputError, first_line

ort.disable_telemetry_events()  # this kit tells nobody what runs on a device


def open_session(data: bytes, name: str, threads: int) -> ort.InferenceSession:
    """Start a session.

    Args:
        data: the ONNX file's bytes.
        name: what stands for it in errors.
        threads: processor threads for one run.

    Raises:
        InputError: the bytes are no ONNX model that this runtime can run.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # A plan of the memory is kept for each shape of input, and a cascade has hundreds; an arena gives nothing back.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    # Threads that spin between two frames take the processor from the camera and from each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI the usual kernels add two products in 16 bits, which overflows: one label in eight was another. These
    # are exact; with VNNI and on Arm nothing changes.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common class
        raise InputError(
            f"model {name} is no ONNX file that ONNX Runtime {ort.__version__} can run: {first_line(error)}"
        ) from None
    # The session keeps the file's bytes to begin anew with other providers: as much again as the model takes.
    vars(session)["_model_bytes"] = None
    return session
