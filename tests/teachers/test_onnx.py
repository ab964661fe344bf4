"""ONNX files as teachers."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import skl2onnx
import torch
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier

from didact import sources
from didact.errors import TeacherError
from didact.teachers import OnnxTeacher, RawRows
from didact.types import Batch, Cost, Labels, Logits

CLASSES = ("dog", "cat", "owl")


def points(size=60, width=4):
    x = np.random.default_rng(0).random((size, width)).astype("f4")
    return x, np.array(CLASSES)[(x[:, 0] * 3).astype(int)]


def batch(x, **more):
    return Batch({"x": torch.from_numpy(x), "id": torch.arange(len(x)), **more})


def saved(tmp_path, model, x, **options):
    path = tmp_path / "teacher.onnx"
    path.write_bytes(skl2onnx.to_onnx(model, x[:1], options=options or None).SerializeToString())
    return path


def graph(tmp_path, nodes, inputs, outputs, weights=(), opset=17, metadata=None, domain=None):
    """Write a graph made by hand."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "made",
            [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
            [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
            [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights],
        ),
        opset_imports=[helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])],
        ir_version=9,
    )
    if metadata:
        helper.set_model_props(model, metadata)
    path = tmp_path / "made.onnx"
    onnx.save(model, path)
    return path


FLOAT = TensorProto.FLOAT


def linear(tmp_path, weight, output="out", inputs=("x", FLOAT, [None, 2]), metadata=None):
    nodes = [helper.make_node("MatMul", ["x", "w"], [output])]
    return graph(
        tmp_path, nodes, [inputs], [(output, FLOAT, [None, weight.shape[1]])], [("w", weight)], metadata=metadata
    )


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(5, random_state=0), LogisticRegression(), MLPClassifier((4,), max_iter=2000, tol=1e-2)],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learn_models_answer_in_the_data_order(tmp_path, model, zipmap):
    x, y = points()
    model.fit(x, y)
    teacher = OnnxTeacher(saved(tmp_path, model, x, zipmap=zipmap), classes=CLASSES, order=None)
    signal = teacher.signal(batch(x))
    assert isinstance(signal, Labels)
    own = model.predict_proba(x)
    named = zipmap or not isinstance(model, MLPClassifier)
    # A net's graph names its classes only in the ZipMap; without it the outputs are taken as they come.
    expected = np.stack([own[:, 1], own[:, 0], own[:, 2]], 1) if named else own
    np.testing.assert_allclose(signal.labels, expected, rtol=1e-4, atol=1e-5)
    assert teacher.cost == Cost(teacher_calls=60)
    assert not hasattr(teacher, "state_dict")


def test_an_order_may_be_given_for_files_without_names(tmp_path):
    x, y = points()
    model = MLPClassifier((4,), max_iter=2000, tol=1e-2).fit(x, y)
    path = saved(tmp_path, model, x, zipmap=False)
    signal = OnnxTeacher(path, classes=CLASSES, order=torch.tensor([1, 0, 2])).signal(batch(x))
    np.testing.assert_allclose(signal.labels, model.predict_proba(x)[:, [1, 0, 2]], rtol=1e-4, atol=1e-5)


def test_numbered_zipmaps_are_aligned(tmp_path):
    x, y = points()
    model = LogisticRegression().fit(x, (y == "cat").astype(int))
    teacher = OnnxTeacher(saved(tmp_path, model, x), classes=["1", "0"])
    np.testing.assert_allclose(teacher.signal(batch(x)).labels, model.predict_proba(x)[:, ::-1], rtol=1e-4, atol=1e-6)
    with pytest.raises(TeacherError, match="the data's are 'no', 'yes'"):
        OnnxTeacher(saved(tmp_path, model, x), classes=["no", "yes"])


@pytest.mark.slow
def test_torch_exports_are_logits_of_images(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    from didact.learners import ModuleLearner
    from didact.learners.export import export
    from didact.types import Examples

    images = torch.rand(6, 1, 4, 4)
    examples = Examples(
        tensors={"x": images, "id": torch.arange(6)}, task="classification", modality="image", classes=("a", "b", "c")
    )
    path = export(ModuleLearner(net), tmp_path / "net", to="onnx", examples=examples, logits=True)
    signal = OnnxTeacher(path, classes=["c", "a", "b"], output="logits").signal(batch(images.numpy()))
    assert isinstance(signal, Logits)
    torch.testing.assert_close(signal.logits, net(images).detach()[:, [2, 0, 1]], rtol=1e-4, atol=1e-5)
    assert isinstance(OnnxTeacher(path, classes=["c", "a", "b"]).signal(batch(images.flatten(1).numpy())), Labels)
    with pytest.raises(TeacherError, match=r"takes inputs of shape \[1, 4, 4\], but an example is \[4, 4, 1\]"):
        OnnxTeacher(path, classes=["c", "a", "b"]).signal(batch(np.zeros((2, 4, 4, 1), "f4")))
    with pytest.raises(TeacherError, match=r"takes inputs of shape \[1, 4, 4\], but an example is \[17\]"):
        OnnxTeacher(path, classes=["c", "a", "b"]).signal(batch(np.zeros((2, 17), "f4")))


def test_images_are_flattened_for_graphs_of_two_dimensions(tmp_path):
    weight = np.arange(12, dtype="f4").reshape(4, 3)
    x = np.random.default_rng(0).random((5, 1, 2, 2)).astype("f4")
    path = linear(tmp_path, weight, inputs=("x", FLOAT, [None, 4]))
    signal = OnnxTeacher(path, classes=CLASSES).signal(batch(x))
    np.testing.assert_allclose(signal.logits, x.reshape(5, 4) @ weight, rtol=1e-5)
    path = linear(tmp_path, weight, inputs=("x", FLOAT, ["batch", "width"]))
    np.testing.assert_allclose(
        OnnxTeacher(path, classes=CLASSES).signal(batch(x)).logits, x.reshape(5, 4) @ weight, rtol=1e-5
    )


def test_the_output_is_found_by_name_or_shape(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["hidden"]),
        helper.make_node("Softmax", ["hidden"], ["probabilities"], axis=1),
    ]
    weight = np.eye(2, dtype="f4")
    outputs = [("hidden", FLOAT, [None, 2]), ("probabilities", FLOAT, [None, 2])]
    path = graph(tmp_path, nodes, [("x", FLOAT, [None, 2])], outputs, [("w", weight)])
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("f4")
    signal = OnnxTeacher(path, classes=["a", "b"]).signal(batch(x))
    assert isinstance(signal, Labels)
    torch.testing.assert_close(signal.labels, torch.from_numpy(x).softmax(1))
    signal = OnnxTeacher(path, classes=["a", "b"], output="hidden").signal(batch(x))
    assert isinstance(signal, Logits)
    np.testing.assert_allclose(signal.logits, x)
    happens_to_sum_to_one = np.array([[2.0, -1.0], [0.5, 0.5]], "f4")
    teacher = OnnxTeacher(path, classes=["a", "b"], output="hidden")
    assert isinstance(teacher.signal(batch(happens_to_sum_to_one)), Logits)
    with pytest.raises(TeacherError, match=r"output is 'nothing', but .* has: hidden, probabilities"):
        OnnxTeacher(path, classes=["a", "b"], output="nothing")
    nodes[1].output[0] = "other"
    path = graph(
        tmp_path, nodes, [("x", FLOAT, [None, 2])], [*outputs[:1], ("other", FLOAT, [None, 2])], [("w", weight)]
    )
    with pytest.raises(
        TeacherError, match=r"the outputs hidden, other, of which 2 could be the prediction\. Name one as output="
    ):
        OnnxTeacher(path, classes=["a", "b"])


def test_regressions_give_targets(tmp_path):
    x, _ = points()
    model = LinearRegression().fit(x, x @ np.array([1.0, -2.0, 0.5, 3.0]))
    signal = OnnxTeacher(saved(tmp_path, model, x), task="regression").signal(batch(x))
    np.testing.assert_allclose(signal.labels, model.predict(x), rtol=1e-3, atol=1e-5)
    weight = np.ones((2, 3), "f4")
    with pytest.raises(TeacherError, match="needs one number each"):
        OnnxTeacher(linear(tmp_path, weight), task="regression").signal(batch(np.zeros((2, 2), "f4")))


def test_inputs_named_as_tensors_of_the_batch_are_given_those(tmp_path):
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["seen"]),
        helper.make_node("Cast", ["seen"], ["logits"], to=FLOAT),
    ]
    kinds = [("input_ids", TensorProto.INT64, [None, None]), ("attention_mask", TensorProto.INT64, [None, None])]
    path = graph(tmp_path, nodes, kinds, [("logits", FLOAT, [None, None])])
    tokens, mask = torch.tensor([[5, 7], [2, 9]]), torch.tensor([[1, 1], [1, 0]])
    teacher = OnnxTeacher(path, classes=["a", "b"])
    signal = teacher.signal(Batch({"input_ids": tokens, "attention_mask": mask, "id": torch.arange(2)}))
    assert signal.logits.tolist() == [[5.0, 7.0], [2.0, 0.0]]
    assert teacher.cost == Cost(teacher_calls=2, teacher_tokens=4)
    with pytest.raises(TeacherError, match="has the inputs input_ids, attention_mask, but the batch has id, x"):
        OnnxTeacher(path, classes=["a", "b"]).signal(batch(np.zeros((2, 2), "f4")))


def test_class_names_in_the_metadata_are_aligned(tmp_path):
    weight = np.eye(2, dtype="f4")
    path = linear(tmp_path, weight, metadata={"classes": json.dumps(["b", "a"])})
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("f4")
    np.testing.assert_allclose(OnnxTeacher(path, classes=["a", "b"]).signal(batch(x)).logits, x[:, ::-1])
    with pytest.raises(TeacherError, match="only the teacher has 'b'; only the data have 'c'"):
        OnnxTeacher(path, classes=["a", "c"])


def test_what_does_not_fit_is_refused(tmp_path):
    weight = np.ones((2, 3), "f4")
    with pytest.raises(TeacherError, match="An ONNX model predicts 3 classes"):
        OnnxTeacher(linear(tmp_path, weight), classes=["a", "b"])
    path = linear(tmp_path, weight, inputs=("x", FLOAT, [1, 2]))
    with pytest.raises(
        TeacherError, match=r"exactly 1, but was given 4 examples\. Export it with a dynamic batch size"
    ):
        OnnxTeacher(path, classes=CLASSES).signal(batch(np.zeros((4, 2), "f4")))
    nodes = [helper.make_node("Cast", ["words"], ["out"], to=FLOAT)]
    path = graph(tmp_path, nodes, [("words", TensorProto.STRING, [None, 3])], [("out", FLOAT, [None, 3])])
    with pytest.raises(TeacherError, match=r"the input 'words' of tensor\(string\), but can be given numbers only"):
        OnnxTeacher(path, classes=CLASSES)


def test_what_is_no_graph_is_refused(tmp_path):
    nodes = [helper.make_node("Magic", ["x"], ["out"], domain="com.example")]
    path = graph(tmp_path, nodes, [("x", FLOAT, [None, 2])], [("out", FLOAT, [None, 2])], domain="com.example")
    with pytest.raises(TeacherError, match=r"can't be run by onnxruntime: .*Magic"):
        OnnxTeacher(path, classes=["a", "b"])
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(TeacherError, match="can't be run by onnxruntime"):
        OnnxTeacher(tmp_path / "text.onnx", classes=["a", "b"])
    (tmp_path / "pickled.onnx").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(TeacherError, match="is a pickle"):
        OnnxTeacher(tmp_path / "pickled.onnx", classes=["a", "b"])
    with pytest.raises(TeacherError, match="is not a file"):
        OnnxTeacher(tmp_path / "none.onnx", classes=["a", "b"])


def test_weights_beside_the_file_must_be_there(tmp_path):
    path = linear(tmp_path, np.eye(2, dtype="f4"))
    model = onnx.load(path)
    beside = tmp_path / "beside.onnx"
    onnx.save(model, beside, save_as_external_data=True, location="weights.data", size_threshold=0)
    x = np.random.default_rng(0).normal(size=(4, 2)).astype("f4")
    np.testing.assert_allclose(OnnxTeacher(beside, classes=["a", "b"]).signal(batch(x)).logits, x)
    (tmp_path / "weights.data").unlink()
    with pytest.raises(TeacherError, match="keep the files of its weights beside it"):
        OnnxTeacher(beside, classes=["a", "b"])


def test_inputs_named_as_columns_are_given_those_and_missing_ones_are_named(tmp_path):
    frame = pd.DataFrame({"size": [0.5, 1.0, -2.0], "legs": [4, 2, 4], "colour": ["red", "blue", "red"]})
    text, whole = TensorProto.STRING, TensorProto.INT64
    nodes = [
        helper.make_node("Cast", ["legs"], ["number"], to=FLOAT),
        helper.make_node("Concat", ["size", "number"], ["logits"], axis=1),
        helper.make_node("Identity", ["colour"], ["seen"]),
    ]
    inputs = [("size", FLOAT, [None, 1]), ("legs", whole, [None, 1]), ("colour", text, [None, 1])]
    path = graph(tmp_path, nodes, inputs, [("logits", FLOAT, [None, 2]), ("seen", text, [None, 1])])

    def rows(columns):
        found = sources.from_frame(columns.assign(kind=["a", "b", "a"]), target="kind")
        return sources.fit_preprocessing(found)(found)

    examples = rows(frame.assign(other=1.5))  # a further column is left alone
    teacher = OnnxTeacher(path, classes=("a", "b"), rows=RawRows(examples))
    assert teacher.signal(examples.batch()).logits.tolist() == frame[["size", "legs"]].to_numpy().tolist()
    with pytest.raises(
        TeacherError, match=r"columns that the data lack: 'legs'\. The data's columns are: 'size', 'col"
    ):
        OnnxTeacher(path, classes=("a", "b"), rows=RawRows(rows(frame.drop(columns="legs"))))
