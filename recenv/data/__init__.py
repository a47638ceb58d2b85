"""Logs in: named public data sets, anyone's own table, and the split for fitting and testing."""

from recenv.data.event_order import sessionize
from recenv.data.registry import dataset_names, load
from recenv.data.split import Split, make_split
from recenv.data.table import read_table

__all__ = ["Split", "dataset_names", "load", "make_split", "read_table", "sessionize"]
