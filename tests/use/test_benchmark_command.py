"""The benchmark: BrowserGym's protocol, what counts how often, and the whole command on real pages."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paper_service import paper_service
from tiny import PaperEnvironments

from browser_control.cli import main
from browser_control.environment.chromium import find_chromium
from browser_control.errors import BrowserNotFound, EnvironmentFailure, UserError
from browser_control.policy.policy import Policy
from browser_control.programs import benchmark as program
from browser_control.run_directory import read_json
from browser_control.training import benchmark, benchmark_tables
from browser_control.training.rollout import Episode, Start
from browser_control.use import adapter
from browser_control.web_tasks.benchmark import FAMILIES, MAX_TURNS, SUBSET_56, episodes
from browser_control.web_tasks.miniwob import WEB_TASKS

Trained = Callable[..., tuple[str, Policy]]


def played(won: Callable[[str, int], bool], failed: str = "") -> list[Episode]:
    made = []
    for web_task, seed in dict.fromkeys(episodes()):
        episode = Episode(Start(web_task, seed), page=f"{web_task} {seed}")
        if web_task == failed:
            episode.failure = "the browser died"
        else:
            episode.strict = won(web_task, seed)
            episode.success, episode.reward = True, 1.0
        made.append(episode)
    return made


def test_a_seed_that_occurs_twice_counts_twice_in_the_rate_and_once_in_the_interval() -> None:
    drawn = [seed for web_task, seed in episodes() if web_task == "book-flight"]
    repeated = next(name for name in WEB_TASKS if len({seed for each, seed in episodes() if each == name}) == 4)
    seeds = [seed for each, seed in episodes() if each == repeated]
    twice = next(seed for seed in seeds if seeds.count(seed) == 2)
    scores = benchmark.scores(played(lambda web_task, seed: web_task == repeated and seed == twice))
    score = scores["web_tasks"][repeated]
    assert (score["episodes"], score["seeds"]) == (5, 4)
    assert (score["strict"]["successes"], score["strict"]["rate"]) == (2, 0.4)
    assert score["strict"]["low"] == pytest.approx(0.0456, abs=1e-3)  # of one in four
    assert score["success"]["rate"] == 1.0
    assert len(drawn) == 5
    assert (scores["subsets"]["all"]["episodes"], scores["subsets"]["all"]["seeds"]) == (625, 590)
    assert scores["subsets"]["all"]["strict"]["rate"] == pytest.approx(2 / 625, abs=1e-4)


def test_what_cannot_be_scored_counts_nothing_and_is_said() -> None:
    scores = benchmark.scores(played(lambda web_task, seed: True, failed="click-test"))
    whole = scores["subsets"]["all"]
    assert whole["unscorable"] == 5
    assert whole["strict"]["successes"] == whole["success"]["successes"] == 620
    assert scores["web_tasks"]["click-test"]["strict"]["rate"] == 0.0
    assert sum("unscorable" in each for each in scores["episodes"]) == 5


def test_subsets_and_families_are_there_where_they_were_played_whole() -> None:
    scores = benchmark.scores(played(lambda web_task, seed: web_task in SUBSET_56), trained=["click-pie", "click-link"])
    parts = scores["subsets"]
    assert parts["56 of the literature"]["count"] == 56
    assert parts["56 of the literature"]["strict"]["rate"] == 1.0
    assert parts["PipelineRL's 23 held out"]["count"] == 23
    assert parts["solved by a solver"]["count"] == 108
    assert (parts["trained"]["count"], parts["not trained"]["count"]) == (2, 123)
    unseen = [name for name in WEB_TASKS if FAMILIES[name] not in (FAMILIES["click-pie"], FAMILIES["click-link"])]
    assert parts["of families never trained"]["count"] == len(unseen)
    assert sum(len(each["members"]) for each in scores["families"].values()) == 125
    assert len(scores["families"]) == len(set(FAMILIES.values()))
    some = benchmark.scores([each for each in played(lambda *_: True) if each.start.web_task in SUBSET_56])
    assert list(some["subsets"]) == ["56 of the literature"]
    table = benchmark_tables.markdown({**scores, "judged": "a run", "at": "today"})
    assert "| click-test | 1 | 5 | 1.000 |" in table
    assert "click-pie and 1 more" in table


def test_an_episode_has_ten_steps_and_each_seed_is_played_once(make_policy: Callable[..., Policy]) -> None:
    environments = PaperEnvironments(4, lambda taken: None)
    found = benchmark.run(make_policy(), environments, ["click-test", "click-link"])
    assert all(len(each.turns) == MAX_TURNS and not each.success for each in found)
    assert len(set(environments.started)) == len(environments.started) == len(found)
    assert set(environments.started) == {start for start in episodes() if start[0] in ("click-test", "click-link")}


def test_where_nothing_can_be_scored_there_is_no_number(make_policy: Callable[..., Policy]) -> None:
    def fail(taken: list[str]) -> float:
        raise EnvironmentFailure("the browser died")

    with pytest.raises(EnvironmentFailure, match=r"none of 5 episodes could be scored \(5 times: the browser died\)"):
        benchmark.run(make_policy(), PaperEnvironments(4, fail), ["click-test"])


def test_an_adapter_is_an_archive_a_run_or_a_checkpoint_of_it(trained: Trained, tmp_path: Path) -> None:
    url, policy = trained()
    run = tmp_path / "runs" / "tiny-run"
    for named in (url, str(run), str(run / "checkpoints" / "step-000001")):
        found = adapter.find(named, "unused")
        assert not found.untrained
        made = adapter.load(found, device="cpu")
        weights = dict(policy.model.named_parameters())
        assert all((each == weights[name]).all() for name, each in made.model.named_parameters())
    assert adapter.find(str(run), "unused").name == "tiny-run/step-000001"
    with pytest.raises(UserError):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "config.yaml").write_text("")
        adapter.find(str(tmp_path / "empty"), "unused")


def test_the_command_shows_and_writes_tables(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, _ = trained(environment={"sessions": 4, "max_turns": 3})
    with paper_service() as service:
        arguments = ["--adapter", url, "--subset", "56", "--environment", service, "--output", str(tmp_path)]
        assert main(["benchmark", "miniwob", *arguments]) == 0
    said = capsys.readouterr().out
    assert "56 of the literature" in said and "click-tab-2-hard" in said and "click-color" in said
    scores = read_json(tmp_path / "benchmark.json")
    assert scores["judged"] == "tiny-run"
    assert scores["subsets"]["56 of the literature"]["episodes"] == 56 * 5
    assert "56 of the literature" in (tmp_path / "benchmark.md").read_text()
    lines = (tmp_path / "episodes.jsonl").read_text().splitlines()
    assert len(lines) == len(scores["episodes"]) and json.loads(lines[0])["turns"]


def test_the_plain_program_starts_a_service_of_its_own_and_needs_no_prefect(trained: Trained, tmp_path: Path) -> None:
    try:
        find_chromium()
    except BrowserNotFound as error:
        pytest.skip(str(error))
    trained(environment={"sessions": 4, "max_turns": 3})
    program = (
        "import sys; sys.modules |= dict.fromkeys(['prefect', 'docker', 'rich', 'shtab']);"
        "from browser_control.use.benchmark import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["miniwob", "--adapter", str(tmp_path / "runs" / "tiny-run"), "--subset", "heldout23"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--output", str(tmp_path / "out")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert ended.returncode == 0, ended.stderr
    assert "PipelineRL's 23 held out (23 web tasks)" in ended.stdout
    score = read_json(tmp_path / "out" / "benchmark.json")["subsets"]["PipelineRL's 23 held out"]
    assert (score["episodes"], score["unscorable"]) == (23 * 5, 0)


def test_the_program_of_the_flow_plays_a_checkpoint_and_knows_what_it_was_trained_on(
    trained: Trained, tmp_path: Path
) -> None:
    with paper_service() as service:
        trained(environment={"sessions": 4, "max_turns": 3, "urls": [service]})
        run = tmp_path / "runs" / "tiny-run"
        asked = ["--config-file-name", str(run / "config.yaml"), "--run-directory", str(tmp_path / "judging")]
        asked += ["--subset", "heldout23", "--output", str(tmp_path / "benchmark.json")]
        assert program.main([*asked, "--checkpoint", str(run / "checkpoints" / "step-000001")]) == 0
        assert program.main([*asked, "--checkpoint", "nowhere"]) == 2
    scores = read_json(tmp_path / "benchmark.json")
    assert (scores["subsets"]["trained"]["count"], scores["subsets"]["not trained"]["count"]) == (1, 22)
    assert len((tmp_path / "benchmark.episodes.jsonl").read_text().splitlines()) == len(scores["episodes"])


def test_what_is_asked_wrongly_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments, words in (
        (["--adapter", "promoted", "--models", str(tmp_path)], "was promoted yet"),
        (["--adapter", str(tmp_path / "nothing")], "nothing"),
        (["--adapter", "base", "--sessions", "0"], "--sessions must be at least 1"),
    ):
        assert main(["benchmark", "miniwob", *arguments]) in (1, 2)
        assert words in capsys.readouterr().err
