"""Makes tests/golden/onnx: what the onnx package writes, and what onnxruntime makes of MatMulNBits.

Generator: onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6; seed 0.
Run: python tools/oracles/onnx_files.py [OUT]   (from the root of the repository)

all.onnx, all.onnx.data   a small model with nodes, attributes and tensors inside and outside of the file
all.onnx.json             what is in it
nbits.json                random codes, scales and zero points of MatMulNBits and the weights that onnxruntime's
                          operator multiplies by: its product with the identity
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OUT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/onnx")


def model(nodes, inputs, outputs, tensors):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, tensors)
    return helper.make_model(graph, ir_version=10, producer_name="oracle", opset_imports=[
        helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])


def write_all():
    rng = np.random.default_rng(0)
    arrays = {
        "f32": rng.standard_normal((3, 5)).astype(np.float32),
        "f64": rng.standard_normal((2,)),
        "f16": rng.standard_normal((2, 3)).astype(np.float16),
        "i64": rng.integers(-(2**60), 2**60, (4,)),
        "i32": rng.integers(-(2**30), 2**30, (2, 1, 3)).astype(np.int32),
        "i8": rng.integers(-128, 128, (3,)).astype(np.int8),
        "u8": rng.integers(0, 256, (5,)).astype(np.uint8),
        "bool": np.array([True, False, True]),
        "scalar": np.array(2.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.float32),
        "large": rng.standard_normal((16, 32)).astype(np.float32),
        "larger": rng.integers(0, 256, (1500,)).astype(np.uint8),
    }
    tensors = [numpy_helper.from_array(a, n) for n, a in arrays.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "large"], ["y"], name="/first/MatMul"),
        helper.make_node("MatMulNBits", ["y", "larger", "f32", "", "i32"], ["z"], name="/second", domain="com.microsoft",
                         K=32, N=-7, bits=4, block_size=16, epsilon=0.1, label="naïve", perm=[1, 0, -2], reals=[1.0, 2.0]),
    ]
    value = lambda n: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", 16])
    whole = model(nodes, [value("x")], [value("z")], tensors)
    (OUT / "all.onnx.data").unlink(missing_ok=True)
    onnx.save_model(whole, OUT / "all.onnx", save_as_external_data=True, location="all.onnx.data", size_threshold=256)
    facts = {
        "tensors": {n: {"shape": list(a.shape), "hex": a.tobytes().hex()} for n, a in arrays.items()},
        "nodes": [{"op": n.op_type, "name": n.name, "domain": n.domain, "inputs": list(n.input), "outputs": list(n.output)}
                  for n in nodes],
    }
    (OUT / "all.onnx.json").write_text(json.dumps(facts, indent=1))


def pack(values, bits):
    per = 8 // bits
    values = np.pad(values, ((0, 0), (0, -values.shape[1] % per))).reshape(values.shape[0], -1, per)
    return sum(values[:, :, i] << (bits * i) for i in range(per)).astype(np.uint8)


def nbits_case(rng, bits, block, rows, cols, points, kind):
    blocks = -(-cols // block)
    codes = pack(rng.integers(0, 2**bits, (rows, blocks * block)), bits)
    scales = rng.standard_normal((rows, blocks)).astype(np.float16).astype(np.float32)
    if kind == "f32":
        scales = rng.standard_normal((rows, blocks)).astype(np.float32)
    if kind == "row":
        scales = np.repeat(rng.standard_normal((rows, 1)).astype(np.float32), blocks, 1)
    names, tensors = ["x", "codes", "scales"], [
        numpy_helper.from_array(codes.reshape(rows, blocks, -1), "codes"), numpy_helper.from_array(scales, "scales")]
    case = {"bits": bits, "block": block, "rows": rows, "cols": cols, "codes": codes.tobytes().hex(),
            "scales": scales.tobytes().hex(), "zeros": ""}
    if points:
        zeros = pack(rng.integers(0, 2**bits, (rows, blocks)), bits)
        names.append("zeros")
        tensors.append(numpy_helper.from_array(zeros, "zeros"))
        case["zeros"] = zeros.tobytes().hex()
    node = helper.make_node("MatMulNBits", names, ["y"], domain="com.microsoft", K=cols, N=rows, bits=bits, block_size=block)
    value = lambda n, c: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", c])
    whole = model([node], [value("x", cols)], [value("y", rows)], tensors)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    weights = session.run(None, {"x": np.eye(cols, dtype=np.float32)})[0].T
    case["weights"] = np.ascontiguousarray(weights).astype(np.float32).tobytes().hex()
    return case


def write_nbits():
    rng = np.random.default_rng(0)
    shapes = [(16, 3, 40), (32, 2, 64), (64, 2, 160), (128, 1, 200), (256, 1, 300)]
    cases = [nbits_case(rng, bits, block, rows, cols, points, "f16")
             for bits in (4, 8) for block, rows, cols in shapes for points in (False, True)]
    cases += [nbits_case(rng, 2, 32, 4, 64, points, "f16") for points in (False, True)]
    cases += [nbits_case(rng, bits, 16, 3, 48, False, kind) for bits in (4, 8) for kind in ("f32", "row")]
    (OUT / "nbits.json").write_text(json.dumps({
        "generator": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}, "cases": cases}, indent=0))


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write_all()
    write_nbits()
