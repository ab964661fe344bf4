"""Preprocessing: what turns rows as they came into tensors, fitted on training rows and kept with the student."""

from didact.preprocessing.columns import Category, Date, Dropped, Number
from didact.preprocessing.inputs import ImagePreprocessing, TextPreprocessing
from didact.preprocessing.kinds import Impute, Kinds, TableOptions, find_kinds
from didact.preprocessing.schema import Preprocessing, parse
from didact.preprocessing.table import Encoded, TablePreprocessing, fit_table

__all__ = [
    "Category",
    "Date",
    "Dropped",
    "Encoded",
    "ImagePreprocessing",
    "Impute",
    "Kinds",
    "Number",
    "Preprocessing",
    "TableOptions",
    "TablePreprocessing",
    "TextPreprocessing",
    "find_kinds",
    "fit_table",
    "parse",
]
