"""Judges a checkpoint on held-out pages and writes its scores.

python -m browser_control.programs.evaluate --config-file-name NAME --run-directory DIR --output FILE

With `--each` the web tasks are judged one after the other, and `--output` is a folder that has a file of scores for
each as soon as that was judged. What is there already of the same checkpoint, pages and settings is not judged again: a
program that was ended loses little.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import progress
from browser_control.configuration import LOTS
from browser_control.errors import CheckpointDamaged, ConfigurationError, RecordDamaged
from browser_control.integrity import DIGESTS, file_digest, read_sealed, value_digest, write_sealed
from browser_control.language.version import VERSION
from browser_control.programs import program
from browser_control.run_directory import RunDirectory, read_json
from browser_control.web_tasks import registry

PICTURES = ".pictures.zip"  # in place of the suffix of the scores

if TYPE_CHECKING:
    from browser_control.environment.client import Environments
    from browser_control.training.held_out import HeldOut


def main(argv: Sequence[str] | None = None) -> int:
    parser = program.parser("programs.evaluate", "Judges a checkpoint on held-out pages.")
    parser.add_argument(
        "--checkpoint",
        default="latest",
        help="base (the untrained model), warm-start, latest (of the run), or a folder (default: latest)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="where the scores are written")
    parser.add_argument(
        "--each",
        action="store_true",
        help="judge the web tasks one after the other; FILE is a folder, with WEB_TASK.json for each that was judged",
    )
    parser.add_argument(
        "--pages",
        choices=("evaluation", "final"),
        default="evaluation",
        help="the final set is for what is published, and decides nothing (default: evaluation)",
    )
    parser.add_argument("--lot", type=int, default=0, metavar="N", help="of the pages; lots share no seed (default: 0)")
    parser.add_argument(
        "--any-language",
        action="store_true",
        help="also judge a checkpoint that was trained to read pages as an earlier version wrote them",
    )
    parser.add_argument(
        "--pictures",
        action="store_true",
        help="afterwards take pictures of a few episodes of each web task, for the report: FILE's name, .pictures.zip",
    )
    return program.run(parser, _evaluate, argv)


def _evaluate(job: program.Job) -> None:
    wanted: str = job.arguments.checkpoint
    if wanted not in ("base", "warm-start", "latest") and not Path(wanted).is_dir():
        raise ConfigurationError(f"there is no checkpoint {wanted!r}: base, warm-start, latest or a folder")
    if job.arguments.pages == "final" and job.arguments.lot:
        raise ConfigurationError("the final set is one: it has no lots, so leave --lot out")
    if not 0 <= job.arguments.lot < LOTS:
        raise ConfigurationError(f"--lot must be from 0 to {LOTS - 1}, not {job.arguments.lot}")
    with program.at_work(job, meanwhile=lambda environments: _pages(job, environments)) as work:
        from browser_control.training import checkpoint

        folder = _folder(wanted, job.run)
        if folder is not None:
            try:
                checkpoint.load(
                    folder,
                    work.policy,
                    job.configuration,
                    may_differ=checkpoint.ANOTHER_RUN,
                    any_language=job.arguments.any_language,
                )
            except CheckpointDamaged as error:
                raise ConfigurationError(str(error)) from error
        for output, pages in _together(job, work.meanwhile):
            judged = _judged(job, work.policy.base.digest, folder, pages)
            if not job.arguments.each or not _is_judged(output, judged, job.arguments.pictures):
                _judge(job, work, judged, pages, output)


def _together(job: program.Job, pages: "list[HeldOut]") -> "list[tuple[Path, list[HeldOut]]]":
    """What is judged together, and where its scores are written."""
    output: Path = job.arguments.output
    if not job.arguments.each:
        return [(output, pages)]
    return [(output / f"{page.web_task}.json", [page]) for page in pages]


def _judged(job: program.Job, base: str, folder: Path | None, pages: "list[HeldOut]") -> dict[str, Any]:
    """What tells one judgement from another: the checkpoint, the kind of pages, and a digest of all that matters.

    Args:
        base: digest of the base model.
        folder: the checkpoint's; None is the base model.
    """
    settings, wanted = job.configuration, job.arguments
    weights = {} if folder is None else read_json(folder / DIGESTS)
    matters = {
        "base": [base, settings.model.dtype],
        "weights": {file: digest for file, digest in weights.items() if file.endswith(".safetensors")},
        "pages": [asdict(each) for each in pages],
        "web_tasks": registry.digests(each.web_task for each in pages),
        "policy": settings.policy.model_dump(mode="json"),
        "max_turns": settings.environment.max_turns,
        "random": None if settings.evaluation.greedy else settings.seed,
        "language": VERSION,
    }
    name = "base" if folder is None else folder.name
    return {"checkpoint": name, "pages": wanted.pages, "lot": wanted.lot, "judgement": value_digest(matters)}


def _is_judged(output: Path, judged: dict[str, Any], pictures: bool) -> bool:
    """Whether the scores of just this are there already, and the pictures where they are asked for."""
    scores = _kept(output, "it is judged again")
    if pictures and not output.with_suffix(PICTURES).exists():
        return False
    return judged.items() <= scores.items()


def _judge(job: program.Job, work: program.Work, judged: dict[str, Any], pages: "list[HeldOut]", output: Path) -> None:
    """Plays these pages and writes their scores, last of all: where they are, all is."""
    from browser_control.training import pictures
    from browser_control.training.evaluation import evaluate
    from browser_control.training.rollout import Episode
    from browser_control.training.transcripts import write_episodes

    wanted: str = job.arguments.checkpoint
    total = sum(len(each.pages) for each in pages)
    played: list[Episode] = []
    done = won = 0

    def count(episode: Episode) -> None:
        nonlocal done, won
        job.preemption.check()
        done, won = done + 1, won + episode.strict
        played.append(episode)
        if done % 8 == 0 or done == total:
            progress.report(f"evaluate {wanted}", done, total, won / done)

    scores = evaluate(work.policy, work.environments, job.configuration, pages, count)
    output.parent.mkdir(parents=True, exist_ok=True)
    transcripts = output.with_suffix(".episodes.jsonl")
    write_episodes(played, transcripts)
    of = f" of {pages[0].web_task}" if job.arguments.each else ""
    print(f"{wanted}{of}: {_words(scores)}", flush=True)
    if job.arguments.pictures:
        action_format = job.configuration.policy.action_format
        taken = pictures.take(played, work.environments, action_format, asked=lambda: job.preemption.asked)
        pictures.write(taken, output.with_suffix(PICTURES))
    more = {"transcripts": file_digest(transcripts), "sampling": work.policy.reading}
    write_sealed(output, {**judged, **more, **scores})


def _pages(job: program.Job, environments: "Environments") -> "list[HeldOut]":
    """The held-out pages, chosen once a run and lot."""
    from browser_control.training.held_out import HeldOut, choose

    settings = job.configuration
    asked = {
        "web_tasks": list(settings.judged_web_tasks),
        "episodes": settings.evaluation.episodes,
        "language": VERSION,
    }
    path = job.run.pages(job.arguments.pages, job.arguments.lot)
    kept = _kept(path, "the pages are looked for again")
    if kept.get("asked") == asked:
        return [HeldOut(each["web_task"], tuple(map(tuple, each["pages"])), each["drawn"]) for each in kept["chosen"]]
    chosen = choose(
        environments,
        settings.judged_web_tasks,
        settings.evaluation.episodes,
        job.arguments.pages,
        job.arguments.lot,
        on_page=job.preemption.check,
    )
    write_sealed(path, {"asked": asked, "chosen": [asdict(each) for each in chosen]})
    return chosen


def _kept(path: Path, otherwise: str) -> dict[str, Any]:
    """What was chosen or judged before; nothing where there is none, or it is damaged: then `otherwise` is said."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return {}
    except RecordDamaged as error:
        print(f"{error}; {otherwise}", flush=True)
        return {}


def _words(scores: dict[str, Any]) -> str:
    overall, exempt = scores["overall"], scores["exempt"]
    words = "no held-out pages"
    if overall["pages"]:
        strict, success = overall["strict"], overall["success"]
        scored = overall["pages"] - overall["unscorable"]
        words = f"{strict['rate']} [{strict['low']}, {strict['high']}] on {scored} distinct held-out pages"
        words += f" ({overall['unscorable']} more could not be scored)" if overall["unscorable"] else ""
        words += f"; {success['rate']} as BrowserGym counts"
    if exempt["pages"]:
        words += (
            f"; {exempt['strict']['rate']} on {exempt['pages']} pages of web tasks that have too few to hold any out"
        )
    return words


def _folder(wanted: str, run: RunDirectory) -> Path | None:
    """The checkpoint that is meant; None is the base model."""
    from browser_control.training import checkpoint

    match wanted:
        case "base":
            return None
        case "warm-start":
            return run.warm_start
        case "latest":
            return checkpoint.newest(run) or (run.warm_start if run.warm_start.exists() else None)
        case _:
            return Path(wanted)


if __name__ == "__main__":
    sys.exit(main())
