"""Public logs of videos, reviews, news and music: invented files, values worked out by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.handmade import events, items, told, write

from recenv.data import formats, load
from recenv.errors import ConfigError, SchemaError

# --- short videos -----------------------------------------------------------------------------

_LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,"
    "is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,"
    "is_profile_enter,is_rand,tab\n"
)


def _shown(user: int, video: int, ms: int, click: int, like: int, long: int, rand: int) -> str:
    return f"{user},{video},20220408,400,{ms},{click},{like},0,0,0,0,{long},9,9,0,0,0,{rand},1\n"


KUAIRAND = {
    "KuaiRand-Pure/data/log_standard_4_08_to_4_21_pure.csv": _LOG
    + _shown(0, 3, 1649347677000, 0, 0, 0, 0)
    + _shown(0, 4, 1649347678500, 1, 0, 1, 0),
    "KuaiRand-Pure/data/log_standard_4_22_to_5_08_pure.csv": _LOG
    + _shown(7, 3, 1650557277000, 1, 1, 0, 0),
    "KuaiRand-Pure/data/log_random_4_22_to_5_08_pure.csv": _LOG
    + _shown(7, 5, 1650557279000, 0, 0, 0, 1)
    + _shown(7, 4, 1650557278000, 1, 0, 0, 1),
    "KuaiRand-Pure/data/video_features_basic_pure.csv": "video_id,author_id,video_type,upload_dt,"
    "upload_type,visible_status,video_duration,server_width,server_height,music_id,music_type,tag\n"
    '3,1,NORMAL,2022-03-01,ShortImport,1.0,9.0,720,1280,5,9,"12,65"\n'
    "4,1,AD,2022-03-01,ShortImport,1.0,,720,1280,5,,8\n9,1,AD,2022-03-01,X,1.0,,7,1,5,,8\n",
}


def test_kuairand(tmp_path: Path) -> None:
    write(tmp_path, KUAIRAND)
    read = load("kuairand", tmp_path, progress=False)
    standard = [("0", "3", 1649347677.0, 0), ("0", "4", 1649347678.5, 2)]
    standard.append(("7", "3", 1650557277.0, 1))
    assert events(read) == standard
    assert items(read) == {
        "3": ("Video 3. Tags 12, 65.", "12", 0.0),
        "4": ("Video 4. Tags 8.", "8", 0.0),
    }
    assert read[0].has_impressions
    assert "propensity" not in read[0].events
    assert "position" not in read[0].events
    random = formats.read_kuairand(tmp_path, logs="random")
    assert events(random) == [("7", "4", 1650557278.0, 1), ("7", "5", 1650557279.0, 0)]
    assert random[0].column("propensity").tolist() == [1 / 7583] * 2
    assert items(random)["5"] == ("5", "unknown", 0.0)
    both = formats.read_kuairand(tmp_path, logs="all", purchase="is_like")
    assert [e[3] for e in events(both)] == [0, 1, 2, 1, 0]
    with pytest.raises(ConfigError, match="logs must be one of"):
        formats.read_kuairand(tmp_path, logs="none")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="purchase must be one of"):
        formats.read_kuairand(tmp_path, purchase="buy")  # pyright: ignore[reportArgumentType]
    write(tmp_path, {"KuaiRand-1K/data/log_standard_4_08_to_4_21_1k.csv": _LOG})
    with pytest.raises(SchemaError, match="several folders"):
        formats.read_kuairand(tmp_path)


KUAIREC = {
    "data/big_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,"
    "watch_ratio\n0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,2.5\n"
    "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593879221.297,0.5\n"
    "21,9598,1,10984,2020-07-05 00:16:06.687,20200705,1593879366.687,0.01\n"
    "21,3649,10,10984,,,,1.0\n",
    "data/small_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,"
    "watch_ratio\n14,148,4381,6067,2020-07-05 05:27:48.378,20200705,1593898068.378,0.722\n"
    "14,183,1,6635,2020-07-05 05:28:00.057,20200705.0,1593898080.057,0.1\n"
    "14,9598,22000,6635,2020-07-05 05:29:09,20200705.0,1593898149,3.3\n",
    "data/item_categories.csv": 'video_id,feat\n148,[8]\n183,"[27, 9]"\n3649,[]\n',
    "kuairec_caption_category.csv": "video_id,manual_cover_text,caption,topic_tag,"
    "first_level_category_id,first_level_category_name,second_level_category_id,"
    "second_level_category_name,third_level_category_id,third_level_category_name\n"
    '148,UNKNOWN,"精神小伙\n路难走",[],8,颜值,673,颜值随拍,-124,UNKNOWN\n'
    "broken caption],8\n183,美食,UNKNOWN,[],27,高新数码,-124,UNKNOWN,-124,UNKNOWN\n",
}


def test_kuairec(tmp_path: Path) -> None:
    read = load("kuairec", write(tmp_path, KUAIREC), progress=False)
    assert events(read) == [("0", "3649", 1593878903.438, 2), ("0", "9598", 1593879221.297, 1)]
    assert not read[0].has_impressions
    assert told(read, "1 rows without a time")
    assert items(read)["3649"] == ("Video 3649.", "all", 0.0)
    small = formats.read_kuairec(tmp_path, matrix="small")
    assert events(small) == [
        ("14", "148", 1593898068.378, 1),
        ("14", "183", 1593898080.057, 0),
        ("14", "9598", 1593898149.0, 2),
    ]
    assert small[0].has_impressions
    assert items(small) == {
        "148": ("精神小伙 路难走. 颜值. 颜值随拍", "颜值", 0.0),
        "183": ("美食. 高新数码", "高新数码", 0.0),
        "9598": ("9598", "unknown", 0.0),
    }
    (tmp_path / "kuairec_caption_category.csv").unlink()
    tagged = items(formats.read_kuairec(tmp_path, matrix="small"))
    assert tagged["183"] == ("Video 183. Tags 27, 9.", "27", 0.0)
    with pytest.raises(ConfigError, match="clicked <= liked"):
        formats.read_kuairec(tmp_path, clicked=2, liked=1)
    with pytest.raises(ConfigError, match="matrix must be"):
        formats.read_kuairec(tmp_path, matrix="huge")  # pyright: ignore[reportArgumentType]


# --- Amazon -----------------------------------------------------------------------------------


def _review(user: str, asin: str, parent: str, ms: int, rating: float, bought: bool) -> str:
    made: dict[str, Any] = {"rating": rating, "title": "Good", "text": "\u2028 line", "images": []}
    made |= {"asin": asin, "parent_asin": parent, "user_id": user, "timestamp": ms}
    return json.dumps(made | {"helpful_vote": 0, "verified_purchase": bought}) + "\n"


REVIEWS = (
    _review("AGKH", "B00A", "B00P", 1588687728923, 5.0, False)
    + _review("AGKH", "B00B", "B00P", 1588615855070, 2.0, True)
    + _review("AE74", "B00C", "B00C", 1589665266052, 4.0, True)
)
META = "".join(
    json.dumps(m) + "\n"
    for m in (
        {"main_category": "All Beauty", "title": "Howard", "price": 12.5, "parent_asin": "B00P",
         "categories": ["Beauty", "Hair Care", "Shampoo"]},
        {"main_category": "All Beauty", "title": "Yes", "price": "from 9.99",
         "parent_asin": "B00C", "categories": []},
        {"main_category": None, "title": "Not sold", "price": None, "parent_asin": "B00X"},
    )
)  # fmt: skip


def test_amazon_reviews(tmp_path: Path) -> None:
    files = {"All_Beauty.jsonl": REVIEWS, "meta_All_Beauty.jsonl.gz": gzip.compress(META.encode())}
    read = load("amazon-2023", write(tmp_path, files), progress=False)
    assert events(read) == [
        ("AE74", "B00C", 1589665266.052, 2),
        ("AGKH", "B00P", 1588615855.07, 2),
        ("AGKH", "B00P", 1588687728.923, 1),
    ]
    assert items(read) == {
        "B00P": ("Howard. Beauty, Hair Care, Shampoo", "Hair Care", 12.5),
        "B00C": ("Yes", "All Beauty", 0.0),
    }
    assert read[0].name == "amazon-2023-All_Beauty"
    liked = formats.read_amazon(tmp_path, purchase="liked", block_bytes=100)
    assert [e[3] for e in events(liked)] == [2, 1, 2]
    write(tmp_path, {"meta_All_Beauty.jsonl": META + '{"title": "x"}\n'})
    with pytest.raises(SchemaError, match=r"meta_All_Beauty\.jsonl, line 4: .*'parent_asin'"):
        formats.read_amazon(tmp_path)
    write(tmp_path, {"Books.jsonl": REVIEWS})
    with pytest.raises(SchemaError, match=r"several categories: All_Beauty\.jsonl, Books\.jsonl"):
        formats.read_amazon(tmp_path)
    assert len(formats.read_amazon(tmp_path, category="Books")[0]) == 3


def test_amazon_ratings(tmp_path: Path) -> None:
    text = (
        "user_id,parent_asin,rating,timestamp\n"
        "A1,0439,1.0,1353612262000\nA2,0439,4.0,1370653034000\n"
    )
    write(tmp_path, {"Books.csv.gz": gzip.compress(text.encode())})
    read = load("amazon-2023", tmp_path, progress=False)
    assert events(read) == [("A1", "0439", 1353612262.0, 1), ("A2", "0439", 1370653034.0, 2)]
    assert items(read) == {"0439": ("0439", "all", 0.0)}
    with pytest.raises(ConfigError, match="does not tell verified purchases"):
        formats.read_amazon(tmp_path, purchase="verified")
    with pytest.raises(ConfigError, match="purchase must be"):
        formats.read_amazon(tmp_path, purchase="all")  # pyright: ignore[reportArgumentType]


# --- news -------------------------------------------------------------------------------------

MIND = {
    "MINDsmall_train/behaviors.tsv": "1\tU13740\t11/11/2019 9:05:58 AM\tN3 N1\tN1-1 N2-0 \n"
    "2\tU9\t11/12/2019 6:11:30 PM\t\tN2-0\n",
    "MINDsmall_train/news.tsv": 'N1\tlifestyle\troyals\tThe "Brands" Buys\tShop the\thttps://x\t[]\t[]\n'
    "N2\thealth\tweight\t50 Worst\t\thttps://x\t[]\t[]\n",
    "MINDsmall_dev/behaviors.tsv": "1\tU9\t11/15/2019 12:00:00 AM\tN1\tN3-1\n",
    "MINDsmall_dev/news.tsv": "N3\tnews\tworld\tThree\tMore\thttps://x\t\t\n"
    "N2\thealth\tweight\t50 Worst\t\thttps://x\t[]\t[]\n",
}


def test_mind(tmp_path: Path) -> None:
    read = load("mind", write(tmp_path, MIND), progress=False)
    shown = [
        ("U13740", "N1", 1573463158.0, 1),
        ("U13740", "N2", 1573463158.0, 0),
        ("U9", "N2", 1573582290.0, 0),
        ("U9", "N3", 1573776000.0, 1),
    ]
    assert events(read) == shown
    assert items(read) == {
        "N1": ('The "Brands" Buys Shop the', "lifestyle", 0.0),
        "N2": ("50 Worst", "health", 0.0),
        "N3": ("Three More", "news", 0.0),
    }
    assert read[0].has_impressions
    assert "position" not in read[0].events  # the publisher shuffled them
    # the history of each user's first row: U13740's N3, N1; U9's is empty
    longer = formats.read_mind(tmp_path, history=True, block_bytes=80)
    start = 1573463158.0 - 3600 - 2
    early = [("U13740", "N1", start + 1, 1), ("U13740", "N3", start, 1)]
    assert events(longer) == sorted(shown + early)
    assert told(longer, "2 earlier clicks")
    train = formats.read_mind(tmp_path / "MINDsmall_train")
    assert len(train[0]) == 3


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("behaviors.tsv", "N2-0\n", "N2\n", r"line 2, column 'impressions': 'N2' has an article"),
        ("behaviors.tsv", "9:05:58 AM", "9:05", r"line 1, column 'time': .* is no time"),
        ("behaviors.tsv", "\tU9\t", "\t\t", r"line 2, column 'user': '' is not an id"),
        (
            "news.tsv",
            "N2\t",
            "N4\t",
            r"Article 'N2' was shown in .*behaviors\.tsv but is not in .*news\.tsv",
        ),
    ],
)
def test_damaged_mind(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    name = f"MINDsmall_train/{file}"
    folder = write(tmp_path, MIND | {name: str(MIND[name]).replace(old, new, 1)})
    with pytest.raises(SchemaError, match=message):
        formats.read_mind(folder / "MINDsmall_train")


# --- music ------------------------------------------------------------------------------------

LISTENS = "userid-timestamp-artid-artname-traid-traname.tsv"
LASTFM = (
    "user_000639\t2009-04-08T01:57:47Z\tf1b1\tThe Dogs D'Amour\ta1\tFall in Love Again?\n"
    'user_000639\t2009-04-08T01:53:56Z\t\t"Weird\t\tWait\n'
    "user_000001\t2006-08-13T13:59:20Z\tf1b1\tThe Dogs D'Amour\t\t\n"
    "user_000001\t2006-08-13T13:59:21Z\tf1b1\tBroken\trow\twith\tmore\n"
)


def test_lastfm_1k(tmp_path: Path) -> None:
    write(tmp_path, {f"lastfm-dataset-1K/{LISTENS}": LASTFM})
    read = load("lastfm-1k", tmp_path, progress=False)
    assert events(read) == [
        ("user_000001", "The Dogs D'Amour", 1155477560.0, 1),
        ("user_000639", '"Weird', 1239155636.0, 1),
        ("user_000639", "The Dogs D'Amour", 1239155867.0, 1),
    ]
    assert told(read, "1 rows with another number of columns, and 0 without a name")
    tracks = formats.read_lastfm_1k(tmp_path, item="track")
    assert [e[1] for e in events(tracks)] == [
        '"Weird - Wait',
        "The Dogs D'Amour - Fall in Love Again?",
    ]
    assert told(tracks, "and 1 without a name")
    with pytest.raises(ConfigError, match="item must be"):
        formats.read_lastfm_1k(tmp_path, item="album")  # pyright: ignore[reportArgumentType]
    write(tmp_path, {f"lastfm-dataset-1K/{LISTENS}": LASTFM.replace("01:53:56Z", "soon")})
    with pytest.raises(SchemaError, match=r"line 2, column 'time': "):
        formats.read_lastfm_1k(tmp_path)


def test_lastfm_hetrec(tmp_path: Path) -> None:
    files = {
        "user_artists.dat": "userID\tartistID\tweight\n2\t51\t13883\n2\t52\t11690\n4\t51\t9\n",
        "artists.dat": "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://x\thttp://y\n"
        '52\t"Mor"cheeba\thttp://x\t\n53\tAir\thttp://x\t\n',
    }
    read = load("lastfm-hetrec", write(tmp_path, files), progress=False)
    assert events(read) == [("2", "51", 0.0, 1), ("2", "52", 0.0, 1), ("4", "51", 0.0, 1)]
    assert items(read) == {
        "51": ("Duran Duran", "all", 0.0),
        "52": ('"Mor"cheeba', "all", 0.0),
    }
    assert told(read, "no times")
