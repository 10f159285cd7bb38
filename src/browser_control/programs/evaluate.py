"""Judges a checkpoint on held-out pages and writes its scores.

python -m browser_control.programs.evaluate --config-file-name NAME --run-directory DIR --output FILE

With `--each` the web tasks are judged one after the other, and `--output` is a folder that has a file of scores for
each as soon as that was judged. What is there already is not judged again: a program that was ended loses little.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from browser_control import progress
from browser_control.configuration import LOTS
from browser_control.errors import CheckpointDamaged, ConfigurationError, RecordDamaged
from browser_control.integrity import file_digest, read_sealed, write_sealed
from browser_control.language.version import VERSION
from browser_control.programs import program
from browser_control.run_directory import RunDirectory

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
        for output, pages in _judgements(job, work.meanwhile):
            _judge(job, work, "base" if folder is None else folder.name, pages, output)


def _judgements(job: program.Job, pages: "list[HeldOut]") -> "list[tuple[Path, list[HeldOut]]]":
    """What is judged together, and where its scores are written."""
    output: Path = job.arguments.output
    if not job.arguments.each:
        return [(output, pages)]
    each = [(output / f"{page.web_task}.json", [page]) for page in pages]
    return [(path, page) for path, page in each if not _kept(path)]


def _judge(job: program.Job, work: program.Work, name: str, pages: "list[HeldOut]", output: Path) -> None:
    """Plays these pages and writes their scores."""
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
    judged = {"checkpoint": name, "pages": job.arguments.pages}
    judged |= {"lot": job.arguments.lot, "transcripts": file_digest(transcripts)}
    judged |= {"sampling": work.policy.reading}
    write_sealed(output, {**judged, **scores})
    of = f" of {pages[0].web_task}" if job.arguments.each else ""
    print(f"{wanted}{of}: {_words(scores)}", flush=True)
    if job.arguments.pictures:
        action_format = job.configuration.policy.action_format
        taken = pictures.take(played, work.environments, action_format, asked=lambda: job.preemption.asked)
        pictures.write(taken, output.with_suffix(".pictures.zip"))


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
    kept = _kept(path)
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


def _kept(path: Path) -> dict[str, Any]:
    """What was chosen before; nothing where there is none, or it is damaged: the same pages are found again."""
    try:
        return read_sealed(path)
    except FileNotFoundError:
        return {}
    except RecordDamaged as error:
        print(f"{error}; the pages are looked for again", flush=True)
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
