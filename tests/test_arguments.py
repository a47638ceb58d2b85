"""Flags that were mistyped: one line, with those that are near."""

import pytest

from recenv.arguments import Parser
from recenv.errors import nearest_flags

KNOWN = ["--rounds", "--runs", "--ippo.learning-rate", "--sac.learning-rate", "--sac.gamma"]


def a_parser():
    parser = Parser("recenv play", "Play.")
    parser.add_argument("id")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_choice("--users", ("heldout", "train"), default="heldout")
    parser.add_progress()
    return parser


def test_the_nearest_flags_are_named_and_those_of_the_algorithm_first():
    assert nearest_flags("--rouns", KNOWN) == ["--rounds", "--runs"]
    assert nearest_flags("--lerning-rate", KNOWN, "--sac.") == [
        "--sac.learning-rate",
        "--ippo.learning-rate",
    ]
    assert nearest_flags("--qqqq", KNOWN) == []


def test_arguments_are_read():
    given = a_parser().parsed(["toy", "--users", "train", "--no-progress"])
    assert (given.id, given.seed, given.users, given.progress) == ("toy", 0, "train", False)
    assert a_parser().parsed(["toy"]).progress is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["toy", "--sed", "3"], "there is no --sed. Did you mean --seed?"),
        (["toy", "--see=3"], "there is no --see. Did you mean --seed?"),
        (["toy", "shop"], "'shop' is one word too many."),
        (["toy", "--users", "trian"], "'trian' is none of heldout, train. Did you mean 'train'?"),
        (["toy", "--seed", "x"], "invalid int value: 'x'."),
        ([], "the following arguments are required: id."),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(words, told, capsys):
    with pytest.raises(SystemExit) as stop:
        a_parser().parsed(words)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("recenv play: ")
    assert err.endswith("`recenv play --help` shows what there is.\n")
    assert err.count("\n") == 1
    assert told in err
