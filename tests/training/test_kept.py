"""Episodes that were kept while playing, as demonstrations of a warm start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_warm_start import GOAL, StopAfter, form, pressed
from tiny import PaperEnvironments, make_configuration

from browser_control.configuration import Configuration
from browser_control.errors import ConfigurationError, Preempted, RecordDamaged
from browser_control.integrity import file_digest
from browser_control.language import kept
from browser_control.language.page import page_of
from browser_control.language.version import VERSION
from browser_control.policy import policy
from browser_control.policy.policy import Policy
from browser_control.preemption import Preemption
from browser_control.programs import warm_start
from browser_control.run_directory import RunDirectory, read_json
from browser_control.training.held_out import may_be_trained
from browser_control.training.kept import demonstrations
from browser_control.training.trainer import Trainer
from browser_control.use import playing
from browser_control.use.person import Person

MakePolicy = Callable[..., Policy]
WIDE = {"max_prompt_tokens": 2048}
WRONG, RIGHT = 'click button "Submit" [20]', 'fill textbox [10] with "Ada"'
OURS = next(seed for seed in range(100) if may_be_trained("enter-text", page_of(GOAL, form(seed))))
HELD_OUT = next(seed for seed in range(100) if not may_be_trained("enter-text", page_of(GOAL, form(seed))))


class Forgiving(PaperEnvironments):
    """A form that does nothing until it is filled in."""

    def __init__(self) -> None:
        super().__init__(1, lambda taken: pressed(taken) or None, form, GOAL)

    def reset(self, session: int, web_task: str, seed: int, pictures: bool = False):  # type: ignore[no-untyped-def]
        return super().reset(session, web_task, seed)


def line(seed: int = OURS, corrected: bool = True, **changes: Any) -> str:
    """An episode as it is kept: the policy presses too early, and a person corrects it; or it does all by itself."""
    by = "person" if corrected else "policy"
    said = [(WRONG, "policy"), (RIGHT, by), (WRONG, by)] if corrected else [(RIGHT, by), (WRONG, by)]
    turns = [
        {"page": form(seed), "viewport": None, "saw": "", "said": words, "by": who, "error": ""} for words, who in said
    ]
    kept = {"web_task": "enter-text", "seed": seed, "language": VERSION, "goal": GOAL, "strict": True, "solution": []}
    return json.dumps({**kept, "turns": turns, **changes}) + "\n"


def test_what_a_person_corrected_is_learned_at_the_prompts_that_were_played(
    make_policy: MakePolicy, tmp_path: Path
) -> None:
    made = make_policy(policy=WIDE)
    lines = iter([WRONG, "me", RIGHT, WRONG])
    person = Person(True, lambda words: next(lines), lambda words: None)
    played = playing.play(made, Forgiving(), "enter-text", OURS, 4, person=person)
    assert [turn.by for turn in played.turns] == ["person"] * 3 and played.outcome.startswith("won")
    episode = played.demonstration()
    episode["turns"][0]["by"] = "policy"  # as if it had been the policy's
    (tmp_path / "kept.jsonl").write_text(json.dumps(episode) + "\n")
    [found], passed_over = demonstrations(made, kept.read(tmp_path / "kept.jsonl"))
    assert not passed_over
    assert [each.text for each in found.completions] == [RIGHT, WRONG]
    prompts = [made.tokenizer.decode(each.prompt_ids) for each in found.completions]
    assert all(turn.saw in prompt for turn, prompt in zip(played.turns[1:], prompts, strict=True))
    assert f"Done: {WRONG.removesuffix(' [20]')}" in prompts[0]


def test_an_episode_that_nobody_corrected_is_learned_whole_and_what_is_judged_or_was_lost_is_not(
    make_policy: MakePolicy, tmp_path: Path
) -> None:
    file = tmp_path / "kept.jsonl"
    episodes = [line(corrected=False), line(strict=False), line(turns=[]), line(HELD_OUT)]
    file.write_text("".join([*episodes, line(HELD_OUT, web_task="https://example.org/")]))
    found, passed_over = demonstrations(make_policy(policy=WIDE), kept.read(file))
    assert [[each.text for each in one.completions] for one in found] == [[RIGHT, WRONG]] * 2
    assert passed_over == {"not won": 2, "held out": 1}
    clicks = make_policy(policy={**WIDE, "actions": ("click",)})
    (tmp_path / "filled.jsonl").write_text(line(turns=json.loads(line())["turns"][1:2]))
    assert demonstrations(clicks, kept.read(tmp_path / "filled.jsonl"))[0] == []


def settings(file: Path, demonstrated: int) -> Configuration:
    return make_configuration(
        policy=WIDE,
        environment={"sessions": 8, "max_turns": 6},
        warm_start={
            "web_tasks": ["enter-text"],
            "demonstrations": demonstrated,
            "kept": [str(file)],
            "learning_rate": 0.01,
            "batch_size": 2,
            "epochs": 3,
        },
        training={"web_tasks": ["enter-text"], "updates": 1, "groups": 2},
    )


def run(folder: Path, file: Path, root: Path, demonstrated: int, preemption: Preemption) -> torch.Tensor:
    """Warm start and an update of GRPO; the adapter that they led to."""
    configuration, directory = settings(file, demonstrated), RunDirectory(root)
    kept.take(configuration.warm_start.kept, directory.kept)
    made = policy.load(configuration, folder)
    Trainer(made, PaperEnvironments(8, pressed, form, GOAL), configuration, directory, preemption).train()
    return torch.cat([each.detach().flatten() for each in policy.trainable(made.model)])


@pytest.mark.parametrize(("demonstrated", "share"), [(0, 0.2), (4, 0.6)])
def test_a_run_goes_on_with_what_it_began_with_whatever_becomes_of_the_file(
    model_folder: Callable[[str], Path], tmp_path: Path, demonstrated: int, share: float
) -> None:
    file, folder, counting = tmp_path / "kept.jsonl", model_folder("llama"), StopAfter()
    file.write_text(line() + line(corrected=False))
    whole = run(folder, file, tmp_path / "whole", demonstrated, counting)
    state = read_json(RunDirectory(tmp_path / "whole").warm_start / "state.json")
    assert state["demonstrations"] == 2 + demonstrated
    assert state["kept"] == [{"name": "kept.jsonl", "sha256": file_digest(file)}]
    root = tmp_path / "stopped"
    with pytest.raises(Preempted):
        run(folder, file, root, demonstrated, StopAfter(int(share * counting.questions)))
    file.write_text(line(strict=False)) if demonstrated else file.unlink()
    assert torch.equal(run(folder, file, root, demonstrated, Preemption()), whole)
    file.write_text(line())
    assert not torch.equal(run(folder, file, tmp_path / "another", demonstrated, Preemption()), whole)


def test_the_digest_of_a_configuration_changes_with_the_content_and_not_with_the_place(tmp_path: Path) -> None:
    digests = []
    for name, content in (("a", line()), ("b", line()), ("c", line() + line())):
        (tmp_path / name).write_text(content)
        digests.append(settings(tmp_path / name, 4).digest)
    assert digests[0] == digests[1] != digests[2]
    assert make_configuration().digest == make_configuration(warm_start={"kept": []}).digest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty: `browser-control play --keep` adds episodes to it"),
        (b"\xff\xfe", "cannot be read: it is no text"),
        (
            line().encode() + b"once upon a time\n",
            "line 2 of .* is no episode that `browser-control play --keep` wrote",
        ),
        (line(seed="one").encode(), "line 1 of .*seed: input should be a valid integer"),
        (line(language=1).encode(), f"under version 1 of what the policy reads, and this is {VERSION}: play it again"),
    ],
)
def test_a_file_that_is_none_is_one_sentence_before_a_run_begins(
    content: bytes | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "kept.jsonl"
    if content is not None:
        file.write_bytes(content)
    arguments = ["--config-file-name", "lfm2_350m_local_lora", "--run-directory", str(tmp_path / "run")]
    assert warm_start.main([*arguments, "--set", f"warm_start.kept=[{file}]"]) == 2
    with pytest.raises(ConfigurationError, match=words):
        kept.read(file)
    said = capsys.readouterr().err
    assert said.startswith("error: warm_start.kept: ") and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_copy_that_is_damaged_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text(line())
    kept.take([str(tmp_path / "kept.jsonl")], tmp_path / "kept.json")
    whole = (tmp_path / "kept.json").read_text()
    for content in (whole.replace("Ada", "Eve", 1), whole[:100], "{}"):
        (tmp_path / "kept.json").write_text(content)
        with pytest.raises(RecordDamaged, match="is damaged"):
            kept.taken(tmp_path / "kept.json")
