"""Readers of public logs in their publishers' own formats, over one streaming path.

Each reader takes a folder and the options of its own format; ``recenv.data.load`` knows each by
name and reads it with the defaults.
"""

from recenv.data.formats.amazon import read_amazon
from recenv.data.formats.kuairand_kuairec import read_kuairand, read_kuairec
from recenv.data.formats.lastfm import read_lastfm_1k, read_lastfm_hetrec
from recenv.data.formats.mind import read_mind
from recenv.data.formats.movielens import read_movielens
from recenv.data.formats.recbole import read_atomic
from recenv.data.formats.retailrocket_taobao import read_retailrocket, read_taobao

__all__ = [
    "read_amazon",
    "read_atomic",
    "read_kuairand",
    "read_kuairec",
    "read_lastfm_1k",
    "read_lastfm_hetrec",
    "read_mind",
    "read_movielens",
    "read_retailrocket",
    "read_taobao",
]
