"""Mutation testing: which small changes of a module do its unit tests not notice?

    OMP_NUM_THREADS=1 python studies/mutants.py [esol/ops/walk.py ...] [--each 30] [--seed 0]

One place of a module's syntax tree is changed at a time (a comparison, an operator, a number, a
condition, a statement left out), a seeded sample of all places, and the module's tests run on it
in a forked process, up to the first failure. Nothing is written to the disk. Tests that start
processes of their own see the module as it is. Prints a table, and on standard error every
survivor, which somebody has to look at: either no test can tell it from the original, or a test is
missing.
"""

import argparse
import ast
import copy
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = {
    "esol/ops/crf.py": ["test_crf.py"],
    "esol/ops/deform.py": ["test_deform.py"],
    "esol/ops/lattice.py": ["test_crf.py"],
    "esol/ops/pairs.py": ["test_pairs.py"],
    "esol/ops/walk.py": ["test_walk.py", "test_pairs.py"],
    "esol/metrics/curves.py": ["test_evaluate.py", "test_evaluate_masks.py", "test_threshold.py"],
    "esol/metrics/histogram.py": ["test_evaluate.py", "test_threshold.py"],
    "esol/metrics/confusion.py": ["test_evaluate.py", "test_evaluate_masks.py"],
    "esol/runs/manifest.py": ["test_manifest.py", "test_outputs.py"],
    "esol/runs/folder.py": ["test_runfolder.py"],
    "esol/runs/work.py": ["test_runfolder.py"],
}
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
    **{ast.FloorDiv: ast.Div, ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Add},
    **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift},
}
LEFT_OUT = (ast.AugAssign, ast.Raise, ast.Continue, ast.Break)
SURVIVED, KILLED, TIMEOUT = "survived", "killed", "timeout"


class Mutant(NamedTuple):
    """A changed module, the line of the change, and the line's statement before and after."""

    tree: ast.Module
    line: int
    change: str


def main() -> None:
    """Mutate, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help=f"default: {', '.join(TESTS)}")
    parser.add_argument("--each", type=int, default=30, help="mutants of a module")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT)]
    # Imported once, before the forks.
    import torch  # noqa: F401

    import esol.data  # noqa: F401

    print("| module | places | killed | survived | timeout | time |\n|---|---|---|---|---|---|")
    for module in options.modules or TESTS:
        begun, found = time.monotonic(), dict.fromkeys((KILLED, SURVIVED, TIMEOUT), 0)
        limit = 10 + 5 * seconds_of(module)
        sites = list(mutants(ast.parse((ROOT / module).read_text(encoding="utf-8"))))
        for mutant in random.Random(options.seed).sample(sites, min(options.each, len(sites))):
            result = outcome(module, mutant.tree, limit)
            found[result] += 1
            if result != KILLED:
                told = f"{result}: {module}:{mutant.line}: {mutant.change}"
                print(told, file=sys.stderr, flush=True)
        counts = " | ".join(str(count) for count in found.values())
        spent = time.monotonic() - begun
        print(f"| `{module}` | {len(sites)} | {counts} | {spent:.0f} s |", flush=True)


def seconds_of(module: str) -> float:
    """How long the tests of the unchanged module take; they must pass."""
    begun = time.monotonic()
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    if outcome(module, tree, 600) != SURVIVED:
        raise SystemExit(f"{module}: its tests fail as it is")
    return time.monotonic() - begun


def outcome(module: str, tree: ast.Module, limit: float) -> str:
    """Run the module's tests on a changed tree, in a forked process."""
    child = os.fork()
    if not child:
        os._exit(tested(module, tree))
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return SURVIVED if os.waitstatus_to_exitcode(status) == 0 else KILLED
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMEOUT


def tested(module: str, tree: ast.Module) -> int:
    """In the child: import the changed module in place of the file's, and run the tests."""
    import pytest

    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1), os.dup2(quiet, 2)
    for name in [name for name in sys.modules if name.split(".")[0] == "esol"]:
        del sys.modules[name]
    changed = module.removesuffix(".py").replace("/", ".")
    code, original = compile(tree, module, "exec"), SourceFileLoader.get_code
    SourceFileLoader.get_code = lambda self, name: (  # type: ignore[method-assign]
        code if name == changed else original(self, name)
    )
    files = [str(ROOT / "tests" / name) for name in TESTS[module]]
    return int(pytest.main([*files, "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]))


def mutants(tree: ast.Module) -> Iterator[Mutant]:
    """All changes, in the order of the tree."""
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (found := getattr(node, field, None)) is not None
        for inner in ast.walk(found)
    }
    nodes = list(ast.walk(tree))
    for place, node in enumerate(nodes):
        if id(node) in annotations or not hasattr(node, "lineno"):
            continue
        for number in range(len(changes(node))):
            fresh = copy.deepcopy(tree)
            # A copy is walked in the same order.
            twin = list(ast.walk(fresh))[place]
            before = shown(twin)
            after = changes(twin)[number]
            Swap(twin, after).visit(fresh)
            yield Mutant(
                ast.fix_missing_locations(fresh), node.lineno, f"{before} -> {shown(after)}"
            )


def changes(node: ast.AST) -> list[ast.AST]:
    """What may stand in a node's place."""
    found: list[ast.AST] = []
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        ops = [SWAPPED[type(node.ops[0])](), *node.ops[1:]]
        found.append(ast.Compare(node.left, ops, node.comparators))
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        found.append(ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right))
    elif isinstance(node, ast.BoolOp):
        found.append(ast.BoolOp(SWAPPED[type(node.op)](), node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        found.append(node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        flipped = not node.value if isinstance(node.value, bool) else node.value + 1
        found.append(ast.Constant(flipped))
    elif isinstance(node, ast.IfExp):
        found += [node.body, node.orelse]
    elif isinstance(node, ast.If):
        found.append(ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse))
    elif isinstance(node, LEFT_OUT) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        found.append(ast.Pass())
    return found


def shown(node: ast.AST) -> str:
    """A node as source, the first line of it."""
    return ast.unparse(ast.fix_missing_locations(node)).splitlines()[0]


class Swap(ast.NodeTransformer):
    """Puts one node in another's place."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """The new node for the old one."""
        if node is self.old:
            return ast.copy_location(self.new, node)
        return super().visit(node)


if __name__ == "__main__":
    main()
