"""Names for what is nested in ways that its readers know: the content of JSON files, and values by name."""

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
"""What JSON holds as an object: strings, numbers, None, lists and further objects, by name."""
Values = Mapping[str, Any]
"""Values by name, of whatever kind each name wants; they are only read."""
State = dict[str, Any]
"""What a checkpoint holds of a part: tensors, numbers, strings, None, and lists and string-keyed mappings of them."""
