"""Settings: one default each, from TOML and from flags."""

import pytest
from ray.rllib.algorithms import algorithm_config as rllib

from recenv.config import Config, GameConfig, RewardConfig, describe
from recenv.errors import ConfigError, UnknownNameError
from training.algorithms import bc
from training.cli import PAGES, SettingsParser, config_of, parse
from training.config import TrainConfig
from training.config.algorithms import ALGORITHMS
from training.config.algorithms.bc import LOG
from training.session import algorithm_config


def flags(*words):
    return parse(SettingsParser("recenv train", ""), list(words))[1]


def test_no_flags_give_the_defaults():
    assert flags() == {}
    assert config_of(None, {}) == TrainConfig()


def test_toml_round_trip():
    config = TrainConfig(train="user", game={"slate_size": 1, "reward": {"cooperation": 0.5}})
    assert TrainConfig.from_toml(config.to_toml()) == config


def test_flags_reach_every_depth_and_lie_on_top_of_the_file(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("seed = 3\nrounds = 10\n[game.reward]\nclick = 2.0\n[ippo]\nepochs = 7\n")
    given = flags(
        "--rounds",
        "99",
        "--train",
        "user",
        "--no-batched-runner",
        "--ippo.learning-rate",
        "0.5",
        "--game.reward.cooperation=1",
        "--game.slate-size",
        "1",
    )
    config = config_of(file, given)
    assert (config.seed, config.rounds, config.train) == (3, 99, "user")
    assert not config.batched_runner
    assert (config.ippo.epochs, config.ippo.learning_rate) == (7, 0.5)
    assert config.game == {"slate_size": 1, "reward": {"click": 2.0, "cooperation": 1}}


def test_a_commands_own_defaults_lie_below_the_file(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('train = "both"\n')
    assert config_of(None, {}, train="recommender").train == "recommender"
    assert config_of(file, {}, train="recommender", rounds=5).to_dict() == (
        TrainConfig(train="both", rounds=5).to_dict()
    )
    assert config_of(None, {"train": "user"}, train="recommender").train == "user"
    help_text = SettingsParser("recenv suite", "", train="recommender").format_help()
    assert "[recommender]" in help_text


def test_every_plain_setting_has_a_flag_and_its_meaning():
    parser = SettingsParser("recenv train", "")
    text = " ".join(parser.page("all").split())
    config = TrainConfig()
    parts = [("", config), *((f"{p}.", getattr(config, p)) for p in ("network", *ALGORITHMS))]
    parts += [("game.", GameConfig()), ("game.reward.", RewardConfig(behaviour_weight=0))]
    shown = 0
    for prefix, part in parts:
        for name, meaning in describe(type(part)).items():
            value = getattr(part, name)
            if isinstance(value, (Config, dict)) or name == "behaviour_weight":
                continue
            flag = f"--{prefix}{name}".replace("_", "-")
            assert flag in text, flag
            said = meaning.replace("``", "").rstrip(".")
            assert said in text, flag
            if value not in (None, "") and not prefix.startswith("game."):
                assert f"{said} [{value}]" in text, flag
            shown += 1
    assert shown > 130
    assert "behaviour-weight" not in text


def test_help_is_short_and_has_a_page_for_each_kind_of_setting(capsys):
    for words, line in (
        (["--help"], "--warm-start"),
        (["--help", "sac"], "--sac.entropy-target"),
        (["--help", "reward"], "--game.reward.cooperation"),
        (["-h", "network"], "--network.hidden"),
    ):
        with pytest.raises(SystemExit) as stop:
            flags(*words)
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert line in text
        assert len(text.splitlines()) < 90
        assert ", ".join(PAGES) in text
    with pytest.raises(SystemExit) as stop:
        flags("--help", "rewards")
    assert stop.value.code == 2
    assert "Did you mean 'reward'?" in capsys.readouterr().err


def test_a_mistyped_flag_is_told_with_the_algorithms_own_first(capsys):
    for words, wanted in (
        (["--lerning-rate", "1"], "--lerning-rate. Did you mean --ippo.learning-rate or "),
        (["--algorithm", "sac", "--lerning-rate=1"], "Did you mean --sac.learning-rate or "),
        (["--rouns", "3"], "Did you mean --rounds?"),
        (["--gam.slate-size", "3"], "Did you mean --game.slate-size?"),
        (["--algorithm", "ipo"], "Did you mean 'ippo'?"),
    ):
        with pytest.raises(SystemExit) as stop:
            flags(*words)
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert wanted in err
        assert err.count("\n") == 1


def test_an_iteration_is_as_long_as_it_says():
    with pytest.raises(ConfigError, match=r"visits \(8192\) divide .*\(4096\)"):
        TrainConfig(num_env_runners=8, num_envs_per_env_runner=1024)


def test_a_setting_and_one_inside_it_are_refused():
    with pytest.raises(ConfigError, match="'reward' was given the value 3"):
        parse(
            SettingsParser("recenv train", ""),
            ["--game.reward", "3", "--game.reward.cooperation", "1"],
        )


@pytest.mark.parametrize(
    "given",
    [{"game": {"slatesize": 1}}, {"game": {"reward": {"clicks": 1.0}}}, {"ippo": {"lr": 1.0}}],
)
def test_unknown_settings_are_refused(given):
    with pytest.raises(UnknownNameError):
        config_of(None, given)


def test_wrong_values_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="rounds"):
        TrainConfig(rounds=0)
    with pytest.raises(ConfigError, match="plackett-luce with sac"):
        TrainConfig(algorithm="sac").replace(network={"slates": "greedy"})
    with pytest.raises(ConfigError, match="together with bc"):
        TrainConfig(algorithm="bc", regime="population").replace(bc={"data": "log"})
    with pytest.raises(ConfigError, match="no config file"):
        config_of(tmp_path / "missing.toml", {})
    with pytest.raises(SystemExit):
        flags("--rouns", "3")


def test_iterations_cover_the_rounds():
    config = TrainConfig(rounds=100, num_envs_per_env_runner=2).replace(
        ippo={"rounds_per_iteration": 30, "minibatch_size": 30}
    )
    assert config.iterations == 4


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rllib_is_told_nothing_in_a_deprecated_way(algorithm, env_config, monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError(args, kwargs)

    monkeypatch.setattr(rllib, "deprecation_warning", fail)
    monkeypatch.setattr(bc, "demonstrations", lambda settings, config: None)
    env, game = env_config["env"], env_config["game"]
    config = TrainConfig(env=env, game=game, train="recommender").replace(
        algorithm=algorithm, bc={"data": LOG}
    )
    built = algorithm_config(config)
    assert built.learner_class.__module__.startswith("training.algorithms")
