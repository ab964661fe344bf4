"""What lies beside an ONNX graph: a readable file of what it takes and can't do, and a script that uses both."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from didact import files
from didact.documents import Document, Values
from didact.preprocessing import (
    Category,
    Date,
    Dropped,
    ImagePreprocessing,
    Number,
    SeriesPreprocessing,
    TablePreprocessing,
)
from didact.preprocessing.cells import MARKS
from didact.types import Examples

if TYPE_CHECKING:
    from didact.learners.huggingface import Tokenizer

_HEAD = '''"""{doc}

It answers as `didact predict` does, without didact: with the graph and the file of facts beside it.
"""

import json
{imports}
from pathlib import Path

import numpy
import onnxruntime
{more}
facts = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
session = onnxruntime.InferenceSession(Path(__file__).with_suffix(""))
'''
_TAIL = """names = [one.name for one in session.get_outputs()]
for answer in zip(*session.run(None, feed), strict=True):
    print(json.dumps({name: numpy.asarray(value).tolist() for name, value in zip(names, answer, strict=True)}))
"""
_MASKS = """mask = session.run(["mask"], feed)[0][0]
Image.fromarray(mask.astype("uint8")).save(sys.argv[2])
"""
_TABLE = r'''

def number(cell):
    """1,000.50 as 1000.5, and what is missing as NaN."""
    return float("nan" if cell in facts["missing"] else re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", cell))


rows = pandas.read_csv(sys.argv[1], dtype=str, keep_default_na=False)
numbers = {one["name"] for one in facts["inputs"] if one["kind"] == "number"}
columns = {one.name: rows[[one.name]] for one in session.get_inputs()}
feed = {
    name: column.map(number).to_numpy(float) if name in numbers else column.to_numpy(object)
    for name, column in columns.items()
}
'''
_IMAGE = """image = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB").convert(facts["mode"])
pixels = numpy.asarray(image.resize((facts["width"], facts["height"])))
feed = {"images": pixels.reshape(1, facts["height"], facts["width"], -1)}
"""
_SERIES = """series = numpy.load(sys.argv[1])["x"].astype(float)
series = series.reshape(len(series), facts["channels"], -1)
end = facts["length"] - series.shape[2]
feed = {"series": numpy.pad(series, ((0, 0), (0, 0), (0, end)), constant_values=numpy.nan)}
"""
_BYTES = """length, known = facts["length"], facts["tokenizer"]
texts = Path(sys.argv[1]).read_text("utf-8").splitlines()
cut = [[known["first_byte"] + byte for byte in text.encode()[: length - 2]] for text in texts]
rows = [[known["begin"], *ids, known["end"], *[known["pad"]] * (length - 2 - len(ids))] for ids in cut]
ids = numpy.array(rows, dtype=numpy.int64)
tokens = {"input_ids": ids, "attention_mask": (ids != known["pad"]).astype(numpy.int64)}
feed = {one.name: tokens[one.name] for one in session.get_inputs()}
"""
_TOKENS = """tokenizer = tokenizers.Tokenizer.from_file(str(Path(__file__).with_suffix(".tokenizer.json")))
found = tokenizer.encode_batch(Path(sys.argv[1]).read_text("utf-8").splitlines())
tokens = {"input_ids": [one.ids for one in found], "attention_mask": [one.attention_mask for one in found]}
feed = {one.name: numpy.array(tokens[one.name], dtype=numpy.int64) for one in session.get_inputs()}
"""


def write(path: Path, examples: Examples, outputs: Sequence[Values], tokenizer: "Tokenizer | None" = None) -> None:
    """Write `NAME.onnx.json` and `NAME.onnx.py` beside `NAME.onnx`, and `NAME.onnx.tokenizer.json` where it has one.

    Args:
        path: of the graph.
        examples: of the kind that it answers.
        outputs: its outputs, ready for JSON.
        tokenizer: by which a student reads text, see `huggingface.Tokenizer`; None for bytes.

    Raises:
        OSError: the disk is full or not writable.
    """
    known = examples.preprocessing
    facts: Document = {"graph": path.name, "task": examples.task, "classes": list(examples.classes)}
    if isinstance(known, TablePreprocessing):
        told, script = _table(known), _script("table", "rows of a .csv file", "rows.csv", _TABLE)
    elif isinstance(known, ImagePreprocessing):
        told = _image(known)
        if examples.task == "segmentation":
            script = _script("image", "an image by a mask", "image.png mask.png", _IMAGE, _MASKS)
        else:
            script = _script("image", "an image", "image.png", _IMAGE)
    elif isinstance(known, SeriesPreprocessing):
        told, script = _series(known), _script("series", "the series x of a .npz file", "series.npz", _SERIES)
    elif examples.modality == "text":
        told = _text(examples, tokenizer, path)
        body = _BYTES if isinstance(told["tokenizer"], dict) else _TOKENS
        script = _script(
            "bytes" if body is _BYTES else "tokens", "the lines of a text file, each a text", "texts.txt", body
        )
    else:
        told, script = {"not_in_the_graph": ["How `x` is made of rows, which didact was never told."]}, ""
    _write_text(path, ".json", json.dumps({**facts, **told, "outputs": outputs}, indent=1, ensure_ascii=False) + "\n")
    if script:
        _write_text(path, ".py", script)


def _write_text(path: Path, suffix: str, text: str) -> None:
    with files.whole_file(path.with_name(path.name + suffix)) as partial:
        partial.write_text(text, encoding="utf-8")


def _script(kind: str, what: str, example: str, body: str, end: str = _TAIL) -> str:
    imports = "import re\nimport sys" if kind == "table" else "import sys"
    more = {
        "table": "import pandas\n",
        "image": "from PIL import Image, ImageOps\n",
        "tokens": "import tokenizers\n",
        "bytes": "",
        "series": "",
    }[kind]
    doc = f"Answers {what}: python student.onnx.py {example}"
    return _HEAD.format(doc=doc, imports=imports, more=more) + body + end


def _table(known: TablePreprocessing) -> Document:
    """What each column that is used has to be given as, and what has to be done before."""
    inputs, said = list[Document](), dict[str, str]()
    for one in known.columns:
        if isinstance(one, Dropped):
            continue
        told = _TOLD[type(one)]
        inputs.append({"name": one.name, "kind": one.kind, "type": told[0]})
        said[one.kind] = told[1]
    return {
        "inputs": inputs,
        "missing": ["", *sorted(MARKS | set(known.missing))],
        "not_in_the_graph": [
            *said.values(),
            "Cells that are not what their column holds are not refused, and nothing is counted.",
        ],
    }


_TOLD: dict[type, tuple[str, str]] = {
    Number: (
        "float64 [batch, 1], NaN where it is missing",
        "Numerals in words, such as 1,000.50, are turned into numbers, and words such as those under `missing` into "
        "NaN, before.",
    ),
    Category: (
        "string [batch, 1], empty where it is missing",
        "Categories are written as in training, whole numbers without a point: 1, and not 1.0.",
    ),
    Date: (
        "string [batch, 1] such as 2021-12-31 or 2021-12-31T23:59:59, empty where it is missing",
        "Dates are ISO 8601. Time zones are not looked at, as in training; what is no date counts as missing.",
    ),
}


def _image(known: ImagePreprocessing) -> Document:
    return {
        "inputs": [{"name": "images", "kind": "image", "type": "uint8 [batch, height, width, 1 or 3]"}],
        "height": known.height,
        "width": known.width,
        "mode": "L" if known.channels == 1 else "RGB",
        "not_in_the_graph": [
            "Files are decoded, turned upright and made gray or coloured before.",
            "The graph resizes images of other sizes by itself. Pillow, by which didact resizes, rounds in another "
            "order for some sizes, which changes pixels by a few of 255 levels; the script resizes with Pillow.",
        ],
    }


def _series(known: SeriesPreprocessing) -> Document:
    channels, length = known.shape
    columns = {"columns": list(known.columns)} if known.columns else {}
    return {
        "inputs": [{"name": "series", "kind": "series", "type": f"float64 [batch, {channels}, {length}]"}],
        "channels": channels,
        "length": length,
        **columns,
        "not_in_the_graph": [
            "Shorter series end with NaN, and what is missing in them is NaN too; the graph fills both.",
            "Longer series and infinite numbers are not refused by words; infinities count as missing.",
        ],
    }


def _text(examples: Examples, tokenizer: "Tokenizer | None", path: Path) -> Document:
    length = examples.shape[0]
    told: Document = {
        "inputs": [
            {"name": name, "kind": "tokens", "type": "int64 [batch, length]"}
            for name in ("input_ids", "attention_mask")
        ],
        "length": length,
        "not_in_the_graph": [f"Texts are turned into token ids, cut and padded to {length} of them, before."],
    }
    if tokenizer is None:
        # Those of `sources.ByteTokenizer`.
        return {**told, "tokenizer": {"kind": "bytes of UTF-8", "pad": 0, "begin": 1, "end": 2, "first_byte": 4}}
    name = path.name + ".tokenizer.json"
    tokenizer.write(path.with_name(name), length)
    return {**told, "tokenizer": name}
