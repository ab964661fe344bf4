"""Preprocessing: what turns rows as they came into tensors, fitted on training rows and kept with the student."""

from didact.preprocessing.cells import Impute, Kinds, TableOptions, find_kinds
from didact.preprocessing.columns import Category, Date, Dropped, Number
from didact.preprocessing.inputs import ImagePreprocessing, TextPreprocessing, scale_images
from didact.preprocessing.schema import Preprocessing, parse
from didact.preprocessing.series import SeriesPreprocessing, SeriesRows
from didact.preprocessing.table import Encoded, Rows, TablePreprocessing, fit_table, plain_table, refuse

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
    "Rows",
    "SeriesPreprocessing",
    "SeriesRows",
    "TableOptions",
    "TablePreprocessing",
    "TextPreprocessing",
    "find_kinds",
    "fit_table",
    "parse",
    "plain_table",
    "refuse",
    "scale_images",
]
