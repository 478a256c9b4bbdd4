"""``esol COMMAND``: settings from YAML and flags, then one call into the library."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.logging import RichHandler

from esol import __version__
from esol.cli.arguments import OVERWRITE, RUN_PATHS, parse_call
from esol.errors import InputError, is_shortage, shortage, visible
from esol.runs.stages import STAGES
from esol.settings import Settings
from esol.settings.load import Parser, load_settings, settings_parser
from esol.system.allocator import keep_memory
from esol.system.distributed import (
    GoneError,
    is_first_to_report,
    leave_group,
    main_process,
    processes,
)
from esol.system.files import encodable
from esol.system.progress import abandon_output, console, log, open_closed_streams
from esol.system.threads import choose_threads

USAGE = f"""usage: esol COMMAND ...

From image tags to segmentation masks.

  esol demo     [OUT]                       synthetic set, whole pipeline, report
  esol check    [CONFIG] DATA               validate a data set: contents and problems
  esol run      [CONFIG] DATA OUT           all stages, skipping what is already done
  esol run      RUN                         go on with a run: its settings, its data
  esol STAGE    RUN | [CONFIG] DATA OUT     one stage: {", ".join(STAGES)}
  esol predict  RUN IMAGES... OUT           masks for new photos, no tags needed
  esol export   RUN OUT --to FORMAT         the segmentation model: safetensors, onnx, hub; masks:
                                            labelstudio, cvat, coco, yolo, voc, png; heatmaps,
                                            voc-submission
  esol import   CORRECTED RUN --from TOOL   corrected masks, which the stage segment learns from
  esol evaluate MASKS --gt DIR              metrics of any folder of masks
  esol report   RUN [--photos N]            rebuild report.html
  esol prepare  DATASET ARCHIVES OUT        data folder from official archives: voc12, coco14
  esol prepare  tags DATA                   labels.csv from the masks of your photos
  esol reproduce TARGET --data DIR          the paper's tables and figures: table1 .. figure6, all,
                                            and our own: ablations, masks
  esol completion SHELL                     script to complete commands: bash, zsh, fish

Over several GPUs or machines: torchrun --nproc-per-node N -m esol run|STAGE|predict ...

CONFIG is a YAML file, or the name of one that comes with esol.
esol COMMAND --help shows its options and the settings that it reads, --help all every setting;
esol run --print_config prints all settings as YAML."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the command line.

    Returns:
        0; 2 for a mistake of the user, after one line about it; 130 if interrupted; 141
        if the reader of the output has gone.
    """
    open_closed_streams()
    choose_threads()
    keep_memory()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks what may come next.
        from esol.cli.completion import complete

        return complete([*COMMANDS, *STAGES], _dispatch)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    if words[0] == "--version":
        print(__version__)
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names that the terminal's encoding lacks are printed as \xf6, as on standard error.
        sys.stdout.reconfigure(errors="backslashreplace")
    handler = RichHandler(console=console, show_path=False, show_level=False)
    plain = logging.StreamHandler(sys.stderr)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[handler if console.is_terminal else plain],
        force=True,
    )
    logging.getLogger("esol").setLevel(logging.INFO)
    # Silence huggingface_hub's retry messages; it reads this at its import.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    # Pillow warns of files that it can read.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        _check_encoding(words)
        code = _dispatch(words[0], words[1:])
        sys.stdout.flush()
        leave_group()
        return code
    except GoneError:
        return 2
    except InputError as error:
        return _refused(str(error))
    except BrokenPipeError:
        # The reader closed the pipe.
        abandon_output(sys.stdout)
        return 141
    except OSError as error:
        abandon_output(sys.stdout)
        # Only errors of standard output lack a file name.
        name = error.filename or "standard output, or a file that is read"
        return _refused(shortage(error) or f"{name}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        return _refused(shortage(error))
    except KeyboardInterrupt:
        if main_process():
            print("esol: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    finally:
        # Whoever read the lines of progress may be gone, which is no failure.
        abandon_output(sys.stderr)


def _refused(message: str) -> int:
    """Print one line, in the first process that reports it."""
    if is_first_to_report(message):
        # Standard error may be closed.
        with suppress(OSError):
            print(f"esol: {visible(message)}", file=sys.stderr, flush=True)
    return 2


def _check_encoding(words: Sequence[str]) -> None:
    """Refuse file names that are not valid UTF-8: they could not be written to a file."""
    for word in words:
        if not encodable(word):
            raise InputError(f"{word}: not valid UTF-8: rename the file or folder")


def _dispatch(command: str, rest: list[str]) -> int:
    measures = command == "evaluate" and any(a == "--gt" or a.startswith("--gt=") for a in rest)
    if processes() > 1 and (measures or command in COMMANDS.keys() - {"run", "predict"}):
        raise InputError(f"esol {command} is not shared by processes; call it without torchrun")
    if command in COMMANDS:
        return COMMANDS[command](rest)
    if measures:
        return _evaluate_masks(rest)
    if command in STAGES:
        return _stage(command, rest)
    raise InputError(f"no command {command!r}; there are: {', '.join([*COMMANDS, *STAGES])}")


def _run(rest: list[str]) -> int:
    choices = {"choices": list(STAGES)}
    parser = settings_parser(
        "run",
        RUN_PATHS,
        "Run all stages, skipping those already done. RUN alone goes on with the settings and the"
        " data of that run; flags change them, with --overwrite where work was done with others.",
        **{
            "from": {**choices, "default": "classify", "help": "first stage"},
            "until": {**choices, "default": "evaluate", "help": "last stage"},
            **OVERWRITE,
        },
    )
    parsed, settings, (data, out) = parse_call(parser, rest, paths=2)
    from esol.stages import run

    stages = {"first": parsed["from"], "last": parsed["until"]}
    run(settings, data, out, **stages, overwrite=parsed["overwrite"])
    if parsed["until"] == "evaluate":
        _show(Path(out), settings)
    return 0


def _stage(command: str, rest: list[str]) -> int:
    text = f"Run the stage {command} alone: {STAGES[command].purpose}."
    if command == "evaluate":
        text += " To measure any folder of masks: esol evaluate MASKS --gt DIR [--list FILE]."
    parser = settings_parser(command, RUN_PATHS, text, **OVERWRITE)
    parsed, settings, (data, out) = parse_call(parser, rest, paths=2)
    from esol.stages import run

    run(settings, data, out, first=command, last=command, overwrite=parsed["overwrite"])
    if command == "evaluate":
        _show(Path(out), settings)
    return 0


def _demo(rest: list[str]) -> int:
    parser = Parser(prog="esol demo", description="Synthetic set, whole pipeline, report.")
    parser.add_argument("out", nargs="?", default="runs/demo", help="run folder")
    out = Path(parser.parse_args(rest).out)
    from esol.cli.demo import demo

    settings = load_settings("demo")
    demo(out, settings)
    _show(out, settings)
    return 0


def _check(rest: list[str]) -> int:
    parser = settings_parser("check", "[CONFIG] DATA", "Validate a data set.")
    parsed, settings, (data,) = parse_call(parser, rest, paths=1)
    from esol.cli.check import check_command

    return check_command(Path(data), settings, networks=bool(parsed.config))


def _report(rest: list[str]) -> int:
    from esol.report.summary import PHOTOS, write_report

    parser = Parser(prog="esol report", description="Rebuild report.html of a run.")
    parser.add_argument("run", help="run folder")
    parser.add_argument(
        "--photos",
        type=int,
        default=PHOTOS,
        help="most photos in the gallery, an equal share of each evaluated list; 0 for none",
    )
    parsed = parser.parse_args(rest)
    print(write_report(Path(parsed.run), parsed.photos))
    return 0


def _predict(rest: list[str]) -> int:
    parser = Parser(prog="esol predict", description="Masks for new photos, no tags needed.")
    parser.add_argument("run", help="run folder, or a model file from esol export")
    parser.add_argument("images", nargs="+", help="photos, folders, or patterns in quotes")
    parser.add_argument("out", help="folder of the masks")
    parser.add_argument("--soft", action="store_true", help="also keep probabilities, .npz")
    parser.add_argument("--overlay", action="store_true", help="also draw masks over the photos")
    parser.add_argument("--crf", choices=["on", "off"], help="dense CRF; default: as trained")
    parser.add_argument(
        "--longest",
        type=int,
        help="longest side at which the network sees photos, pixels",
    )
    parser.add_argument("--batch", type=int, default=8, help="photos at a time")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--precision",
        choices=["auto", "no", "bf16"],
        default="auto",
        help="no: float32; auto: bfloat16 where the processor computes it natively",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing masks")
    parsed = parser.parse_args(rest)
    from esol.predict.model import load
    from esol.system.precision import slow

    model = load(Path(parsed.run), parsed.device, parsed.precision)
    if warning := slow(model.precision, model.device):
        log.warning("--precision %s: %s", model.precision, warning)
    counts = model.predict_folder(
        parsed.images,
        Path(parsed.out),
        soft=parsed.soft,
        overlay=parsed.overlay,
        overwrite=parsed.overwrite,
        batch=parsed.batch,
        longest=parsed.longest,
        crf=None if parsed.crf is None else parsed.crf == "on",
    )
    if not main_process():
        return 0
    print(f"{counts['photos']} photos: {counts['predicted']} done, {counts['skipped']} done before")
    for name, photos in counts["classes"].items():
        if photos:
            print(f"  {name}: in {photos}")
    if counts["empty"]:
        print(f"  none of them: in {counts['empty']}, masks of background alone")
    print(f"masks: {parsed.out}")
    return 0


def _export(rest: list[str]) -> int:
    from esol.cli.export import export_command

    return export_command(rest)


def _import(rest: list[str]) -> int:
    from esol.cli.export import import_command

    return import_command(rest)


def _prepare(rest: list[str]) -> int:
    from esol.prepare import DATA_SETS, tags_from_masks
    from esol.prepare.state import give_up

    parser = Parser(
        prog="esol prepare",
        description="Data folder from official archives, or tags (labels.csv) from masks.",
    )
    parser.add_argument("what", choices=[*DATA_SETS, "tags"], help="data set, or tags")
    parser.add_argument(
        "source", help="folder of the archives, or of what is in them; for tags, the data folder"
    )
    parser.add_argument("out", nargs="?", help="data folder to make; for tags there is none")
    parser.add_argument("--masks", default="", help="tags only: folder of masks in the data folder")
    parser.add_argument(
        "--pixels",
        type=int,
        default=1,
        help="tags only: a class of so many pixels in a mask is a tag",
    )
    parsed = parser.parse_args(rest)
    source = Path(parsed.source)
    if parsed.what == "tags":
        if parsed.out:
            raise InputError(f"{parsed.out}: esol prepare tags DATA writes to DATA: leave it out")
        print(visible(tags_from_masks(source, parsed.masks, parsed.pixels).described()))
        return 0
    if not parsed.out:
        raise InputError(f"esol prepare {parsed.what} ARCHIVES OUT: name OUT, the folder to make")
    if parsed.masks or parsed.pixels != 1:
        raise InputError("--masks, --pixels: only for esol prepare tags: leave them out")
    out = Path(parsed.out)
    try:
        done = DATA_SETS[parsed.what](source, out)
    except InputError:
        give_up(out)
        raise
    counts = ", ".join(f"{name} {number:,}" for name, number in done.counts.items())
    state = "prepared before, nothing to do" if done.done_before else "ready"
    print(f"{done.out}: {state}: {counts}")
    return 0


def _reproduce(rest: list[str]) -> int:
    from esol.reproduce import command

    return command(rest)


def _evaluate_masks(rest: list[str]) -> int:
    from esol.cli.evaluate import evaluate_command

    return evaluate_command(rest)


def _show(run: Path, settings: Settings) -> None:
    """Print the numbers of a run, if it has any, and where its report is."""
    from esol.report.summary import print_summary

    if main_process():
        print_summary(run, settings)


def _completion(rest: list[str]) -> int:
    from esol.cli.completion import SHELLS, script

    parser = Parser(
        prog="esol completion",
        description="Script with which a shell completes commands, flags and files.",
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell; docs/completion.md")
    print(script(parser.parse_args(rest).shell))
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "demo": _demo,
    "check": _check,
    "run": _run,
    "report": _report,
    "predict": _predict,
    "export": _export,
    "import": _import,
    "prepare": _prepare,
    "reproduce": _reproduce,
    "completion": _completion,
}
"""Besides the stages."""
