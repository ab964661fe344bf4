"""Refusal of files that would have to be unpickled."""

import zipfile
from pathlib import Path

from didact.errors import TeacherError

PICKLED = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt")
"""Suffixes of files that are, or contain, pickles."""

_TORCH = (".pt", ".pth", ".bin", ".ckpt")


def check_not_pickled(path: str | Path) -> Path:
    """Refuse a file that could only be read by unpickling it, whatever its suffix.

    Args:
        path: of a file.

    Returns:
        The path.

    Raises:
        TeacherError: there is no such file; or it is a pickle, has a pickle's suffix, or is an archive of `torch.save`.
    """
    path = Path(path)
    if not path.is_file():
        raise TeacherError(f"{path} is not a file. Give the path of a .skops, .onnx or .safetensors file.")
    with path.open("rb") as file:
        start = file.read(2)
    archived = zipfile.is_zipfile(path) and any(
        name.endswith((".pkl", ".pickle")) for name in zipfile.ZipFile(path).namelist()
    )
    begins_as_one = len(start) == 2 and start[0] == 0x80 and start[1] in range(2, 6)
    if path.suffix.lower() in PICKLED or begins_as_one or archived:
        raise TeacherError(
            f"{path} is a pickle, which can run any code when it is opened, and is refused. {_remedy(path, archived)}"
        )
    return path


def _remedy(path: Path, archived: bool) -> str:
    if path.suffix.lower() in _TORCH or archived:
        return (
            "Where you trust it, load it yourself and save its weights with "
            'safetensors.torch.save_file(model.state_dict(), "model.safetensors"), or the model as ONNX.'
        )
    return 'Where you trust it, load it yourself and save it again with skops.io.dump(model, "teacher.skops").'
