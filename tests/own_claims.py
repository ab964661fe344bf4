"""A method of one's own with a claim, for tests of claims."""

from pathlib import Path

from didact import catalogue

WORDS = {
    "statement": "It helps.",
    "arms": {"mine": "mine.py", "supervised": "supervised", "label_spreading": "label_spreading"},
    "method": "mine",
    "baseline": "supervised",
    "cheap": "label_spreading",
    "settings": {"labels": 40, "steps": 4, "student": "mlp:4"},
    "equal": "steps",
    "shows": "That claims can be run.",
    "omits": "Anything else.",
    "world": "wine",
    "seeds": (5, 6, 7, 8, 9),
    "tuned_on": (0, 1),
    "tuned": "Nothing of interest.",
}


def write(words=None, *, source=None, **changes):
    """A method of one's own in the working directory: plain training with another name, and a claim."""
    source = source or catalogue.find("supervised").path.read_text()
    source = source.replace("label_smoothing: float", "smooth: float")
    source = source.replace('check_range("label_smoothing", self.label_smoothing', 'check_range("smooth", self.smooth')
    source = source.replace("self.config.label_smoothing", "self.config.smooth")
    arguments = ",\n".join(f"    {name}={value!r}" for name, value in {**WORDS, **(words or {}), **changes}.items())
    imports = "from didact.claiming import Claim\nfrom didact.errors"
    Path("mine.py").write_text(
        source.replace("from didact.errors", imports, 1) + f"\n\nCLAIM = Claim(\n{arguments},\n)\n"
    )
    return catalogue.find("mine.py")
