"""`browser-control`: looks at this machine and at what runs left behind, and puts an adapter to use."""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import shtab
from rich.console import Console
from rich.table import Table

from browser_control.errors import EXIT_USER_ERROR, ArchiveInvalid, BrowserControlError, UserError
from browser_control.training import benchmark_tables
from browser_control.use import benchmark, play_command
from browser_control.use.benchmark import DEFAULT_CONFIG

if TYPE_CHECKING:
    from browser_control.records.registry import Promoted


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Exit codes: 0 all is well; 1 an archive is not as its manifest says, or not promoted, or what is played for that
    failed, or this machine cannot run the default; 2 the command is wrong.
    """
    chosen = _parser().parse_args(arguments)
    errors = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        return int(chosen.work(chosen) or 0)
    except ArchiveInvalid as error:
        errors.print(f"error: {error}", style="red")
        return 1
    except ModuleNotFoundError as error:
        errors.print(f"error: {error}: install 'browser-control[flow,train,environment,use]'", style="red")
        return EXIT_USER_ERROR
    except (UserError, ValueError, ImportError) as error:  # fsspec: a protocol that is unknown, or not installed
        errors.print(f"error: {error}", style="red")
        return EXIT_USER_ERROR
    except BrowserControlError as error:  # what `promote` plays failed
        errors.print(f"error: {error}", style="red")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="browser-control", description="Looks at this machine and at what runs left behind; uses what was trained."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("verify", help="compare every file of an archive with its manifest")
    check.set_defaults(work=_verify)
    look = commands.add_parser("promoted", help="the adapter in use, and those before it")
    look.set_defaults(work=_promoted)
    back = commands.add_parser("rollback", help="put the adapter that was promoted before back to use")
    back.set_defaults(work=_roll_back)
    promote = commands.add_parser("promote", help="judge an archived adapter again and put it to use if it is better")
    promote.set_defaults(work=_promote)
    report = commands.add_parser("report", help="write one HTML file on a run, or one that compares several")
    report.set_defaults(work=_report)
    report.add_argument("runs", nargs="+", metavar="RUN", help="an archive, or a run directory: archives/RUN, runs/RUN")
    report.add_argument("--output", default="report.html", metavar="FILE", help="(default: report.html)")
    _add_export(
        commands.add_parser("export", help="merge an archived adapter into its base: a model for any other program")
    )
    play = commands.add_parser("play", help="play on a web task or any page, saying each action as it happens")
    play.set_defaults(work=play_command.run)
    play_command.add_arguments(play)
    _add_adapter(play)
    serve = commands.add_parser("serve", help="answer for an archived adapter by OpenAI's protocol, on loopback")
    serve.set_defaults(work=_serve)
    serve.add_argument(
        "archive", metavar="ARCHIVE", help="a folder such as archives/RUN, another URL, promoted or base"
    )
    serve.add_argument("--port", type=int, default=8000, help="TCP port; 0 takes a free one (default: 8000)")
    _add_adapter(serve)
    judge = commands.add_parser("benchmark", help="judge an adapter by BrowserGym's protocol for MiniWoB")
    judge.set_defaults(work=_benchmark)
    benchmark.add_arguments(judge)
    config = commands.add_parser("config", help="print every key and its default, explain one, or compare two files")
    config.set_defaults(work=_config)
    config.add_argument(
        "names",
        nargs="*",
        metavar="KEY_OR_FILE",
        help="a key or section, such as training.updates; one file: what it sets otherwise; two: what they differ in",
    ).complete = shtab.FILE  # type: ignore[attr-defined]
    config.add_argument("--schema", action="store_true", help="print the JSON Schema that configs/schema.json holds")
    _add_web_task(commands)
    completion = commands.add_parser("completion", help="print what a shell completes these commands by")
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="eval its output in the shell's startup file")
    completion.set_defaults(work=lambda chosen: print(shtab.complete(parser, chosen.shell)))
    doctor = commands.add_parser("doctor", help="what this machine has and lacks for each way to run")
    doctor.set_defaults(work=_diagnose)
    doctor.add_argument("--json", action="store_true", help="for programs")
    for command in (check, promote):
        command.add_argument("archive", metavar="ARCHIVE", help="a folder, such as archives/RUN, or another fsspec URL")
    for command in (look, back):
        command.add_argument("name", metavar="NAME", help="of the configuration, such as smollm2-135m-lora")
    for command in (look, back, promote):
        command.add_argument(
            "--models", default="models", metavar="DIR", help="where promotion is kept (default: models)"
        )
    return parser


def _add_web_task(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`web-task new | show | try | check | schema`."""
    about = commands.add_parser("web-task", help="make a web task of your own, and prove it (docs/own-web-tasks.md)")
    verbs = about.add_subparsers(required=True, metavar="WHAT")
    new = verbs.add_parser("new", help="write an example to start from: a page and a task.yaml")
    new.set_defaults(work=_new_web_task)
    show = verbs.add_parser("show", help="print it as the policy sees it")
    show.set_defaults(work=_show_web_task)
    attempt = verbs.add_parser("try", help="play it here, as the policy does")
    attempt.set_defaults(work=_try_web_task)
    attempt.add_argument("--record", action="store_true", help="write what you did as the solution, if it wins")
    check = verbs.add_parser("check", help="prove that it can be done, not by chance, and that episodes are apart")
    check.set_defaults(work=_check_web_task)
    for command in (new, show, attempt, check):
        command.add_argument("folder", metavar="FOLDER", help="SOURCE/NAME, the folder of the web task")
    for command in (show, attempt):
        command.add_argument("--seed", type=int, default=0, help="of the episode (default: 0)")
    schema = verbs.add_parser("schema", help="print the JSON Schema of task.yaml, configs/task.schema.json")
    schema.set_defaults(work=lambda chosen: print(_task_schema(), end=""))


def _task_schema() -> str:
    from browser_control.web_tasks import task_file

    return task_file.schema()


def _new_web_task(chosen: argparse.Namespace) -> None:
    from browser_control.authoring import new
    from browser_control.records.summary import command

    web_task = new.write(Path(chosen.folder))
    program = command("browser-control")
    _show(
        {
            "web task": f"{web_task.name}, in {chosen.folder}",
            "what to change": "page.html and task.yaml",
            "then": "\n".join(f"{program} web-task {verb} {chosen.folder}" for verb in ("show", "try", "check")),
        }
    )


def _show_web_task(chosen: argparse.Namespace) -> None:
    from browser_control.authoring import checking, playing, served

    web_task = served.read(chosen.folder)
    with served.served(web_task, 1) as environments:
        observation = checking.begin(environments, web_task, chosen.seed)
    print(f"{playing.view(observation)}\n")
    for offer in playing.offers(observation):
        print(offer)


def _try_web_task(chosen: argparse.Namespace) -> int:
    from browser_control.authoring import playing, served

    web_task = served.read(chosen.folder)
    try:
        with served.served(web_task, 1) as environments:
            steps, won = playing.play(web_task, environments, chosen.seed, lambda: _asked("> "), print)
    except KeyboardInterrupt:
        print()
        return 1
    if chosen.record and won:
        playing.record(web_task.folder, steps)
        print(f"{len(steps)} steps are now the solution in {web_task.folder / 'task.yaml'}:")
        for step in steps:
            print(f"  {step}")
        for name in served.read(chosen.folder).file.unshown:
            print(f"none of them names {{{name}}}: where one depends on it, write it there")
    elif chosen.record:
        print("nothing was recorded")
    return 0 if won else 1


def _asked(words: str) -> str:
    """What a person types; empty at the end of the input."""
    try:
        return input(words)
    except EOFError:
        return ""


def _check_web_task(chosen: argparse.Namespace) -> int:
    from browser_control.authoring import checking, served

    web_task = served.read(chosen.folder)
    report = checking.Report()
    with served.served(web_task, 2) as environments:
        for finding in checking.prove(web_task, environments):
            report.findings.append(finding)
            sign = "✓" if not finding.trouble else "·" if finding.warning else "✗"
            words = f": {finding.trouble}" if finding.trouble else ""
            print(f"{sign} {finding.about}: {finding.found}{words}", flush=True)
    print(f"{web_task.name} {'can be trained on' if report.sound else 'has to be put right first'}")
    return 0 if report.sound else 1


def _add_adapter(parser: argparse.ArgumentParser) -> None:
    """What says which adapter is meant."""
    parser.add_argument(
        "--config",
        default=DEFAULT_CONFIG,
        metavar="NAME",
        help="configuration that says what promoted and base are (default: %(default)s)",
    )
    parser.add_argument("--models", default="models", metavar="DIR", help="where promotion is kept (default: models)")
    parser.add_argument(
        "--base", default="", metavar="MODEL", help="base model, where it is not where it was in training"
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(work=_export)
    parser.add_argument("archive", metavar="ARCHIVE", help="a folder such as archives/RUN, another URL, or promoted")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the model is written")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="of the weights")
    parser.add_argument(
        "--gguf",
        nargs="?",
        const="f16",
        choices=("f16", "f32", "bf16", "q8_0"),
        help="also write model-TYPE.gguf, by llama.cpp's own converter (TYPE: f16)",
    )
    parser.add_argument("--push", metavar="OWNER/NAME", help="also upload it to the hub, with the token of HF_TOKEN")
    parser.add_argument("--public", action="store_true", help="for everybody to see; else a new repository is private")
    _add_adapter(parser)


def _verify(chosen: argparse.Namespace) -> None:
    from browser_control.records import archive

    manifest = archive.verify(chosen.archive)
    files = manifest["files"]
    megabytes = sum(entry["bytes"] for entry in files.values()) / 1e6
    _show(
        {
            "archive": f"{chosen.archive} is as its manifest says",
            "run": manifest["run_id"],
            "files": f"{len(files)}, {megabytes:.1f} MB",
            "configuration": manifest["config_digest"],
            "commit": manifest["git_commit"] or "unknown",
            "seed": str(manifest["seeds"]["seed"]),
            "packages": ", ".join(f"{name} {version}" for name, version in manifest["packages"].items()),
        }
    )


def _report(chosen: argparse.Namespace) -> None:
    from browser_control.records import report, report_page
    from browser_control.run_directory import write_text

    reports = [report.read(each) for each in chosen.runs]
    page = report_page.render(reports[0]) if len(reports) == 1 else report_page.render_comparison(reports)
    write_text(Path(chosen.output), page)
    _show({"report": chosen.output, **{each.id: each.headline for each in reports}})


def _export(chosen: argparse.Namespace) -> None:
    from browser_control.use import adapter, export, gguf, hub

    if chosen.push:
        hub.refuse_name(chosen.push)
    export.refuse_full(chosen.folder)
    found = adapter.find(chosen.archive, chosen.config, chosen.models, chosen.base)
    if chosen.gguf:
        gguf.converter()
    export.export(found, chosen.folder, chosen.dtype)
    rows = {"model": f"{chosen.folder}, {chosen.dtype}"}
    if chosen.gguf:
        rows["GGUF"] = str(gguf.convert(chosen.folder, chosen.gguf))
    if chosen.push:
        rows["hub"] = hub.push(chosen.folder, chosen.push, chosen.public)
    _show(rows)


def _serve(chosen: argparse.Namespace) -> None:
    from browser_control.use import adapter, serving

    found = adapter.find(chosen.archive, chosen.config, chosen.models, chosen.base)
    with serving.Server(adapter.load(found, device="auto"), found.name, chosen.port) as server:
        print(f"{found.name} answers at {server.url}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def _benchmark(chosen: argparse.Namespace) -> None:
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TextColumn("strict {task.fields[strict]:.2f}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("episodes", total=None, strict=0.0)
        result = benchmark.judge(
            chosen, lambda done, total, strict: bar.update(task, completed=done, total=total, strict=strict)
        )
    for rows in (benchmark_tables.web_tasks, benchmark_tables.families, benchmark_tables.summary):
        if found := rows(result.scores):
            _print_table(benchmark_tables.HEADS, found)
            print()
    answers = benchmark_tables.validity(result.scores)
    _show({"judged": result.scores["judged"], "answers": answers, "written": str(result.folder)})


def _config(chosen: argparse.Namespace) -> None:
    from browser_control import configuration, configuration_help

    if chosen.schema:
        print(configuration_help.schema(), end="")
    elif not chosen.names or configuration_help.is_key(chosen.names[0]):
        found = [each for name in chosen.names for each in configuration_help.explain(name)]
        heads = ("key", "default", "allowed", "what it is")
        rows = [
            (each.name, each.default, each.allowed, each.meaning) for each in found or configuration_help.all_keys()
        ]
        _print_table(heads, rows)
    elif len(chosen.names) > 2:
        raise UserError("name a key, one file, or two files to compare")
    else:
        loaded = [configuration.load(name) for name in chosen.names]
        if len(loaded) == 1:
            _print_table(("key", "default", chosen.names[0]), configuration_help.changed(loaded[0]))
        else:
            _print_table(("key", *chosen.names), configuration_help.compare(loaded[0], loaded[1]))


def _diagnose(chosen: argparse.Namespace) -> int:
    from browser_control.pipeline import doctor

    diagnosis = doctor.diagnose()
    if chosen.json:
        print(json.dumps(diagnosis.as_json(), indent=2))
        return 0 if diagnosis.can_run else 1
    findings = Table(box=None, pad_edge=False)
    for title in ("", "found", "what to do"):
        findings.add_column(title, overflow="fold")
    for each in diagnosis.findings:
        sign = "✗" if each.hinders else "·" if each.remedy else "✓"
        findings.add_row(f"{sign} {each.about}", each.found, each.remedy)
    Console(highlight=False, markup=False).print(findings, "")
    ways = {}
    for way, words in doctor.WAYS.items():
        lacks = diagnosis.lacks(way)
        ways[words + (" (the default)" if way == diagnosis.default else "")] = (
            f"no: {', '.join(dict.fromkeys(lacks))}" if lacks else "can run"
        )
    _show(ways)
    return 0 if diagnosis.can_run else 1


def _promoted(chosen: argparse.Namespace) -> None:
    from browser_control.records.registry import Registry

    record = Registry(chosen.models, chosen.name).read()
    if record.promoted is None:
        raise UserError(f"no adapter of {chosen.name!r} was promoted yet (in {chosen.models})")
    _show(_in_words(record.promoted))
    for title, adapters in {"before it": record.history, "rolled back": record.rolled_back}.items():
        if adapters:
            _show({title: "", **{f"  {each.at}": f"{each.run_id}, {_success(each)}" for each in reversed(adapters)}})


def _roll_back(chosen: argparse.Namespace) -> None:
    from browser_control.records.registry import Registry

    given_up, now = Registry(chosen.models, chosen.name).roll_back()
    _show({"given up": f"{given_up.run_id}, {_success(given_up)}", **_in_words(now)})


def _promote(chosen: argparse.Namespace) -> int:
    from browser_control.pipeline import judging

    decision = judging.promote(chosen.archive, chosen.models)
    _show({"decision": decision.reason})
    return 0 if decision.promoted else 1


def _in_words(promoted: "Promoted") -> dict[str, str]:
    return {
        "in use": promoted.run_id,
        "archive": promoted.archive,
        "adapter": promoted.checkpoint,
        "success": _score(promoted),
        "since": f"{promoted.at}, {promoted.because}",
    }


def _success(promoted: "Promoted") -> str:
    return f"success {_score(promoted)}"


def _score(promoted: "Promoted") -> str:
    from browser_control.records.summary import interval

    return interval(promoted.successes, promoted.episodes)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        print("they are the same")
        return
    table = Table(box=None, pad_edge=False)
    for number, head in enumerate(heads):
        table.add_column(head, style="bold" if number == 0 else "", overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def _show(rows: dict[str, str]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
