"""No query is built from values: every statement is constant text, or stands on an explained list.

A statement is constant when it is literal text, a name that is bound to such text only (in its
function, its module or the module it comes from), or text joined of such parts. Values go into
parameters.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ("edge_agent", "gateway")
DATABASE = frozenset({"execute", "executemany", "executescript", "query_stream", "query", "delete"})
OWN = frozenset({"_all", "_one", "_first", "_query", "_each", "_exists"})
"""Methods of ours that hand a statement on; whoever calls them is checked as well."""
STATEMENT = re.compile(
    r"\b(SELECT\s.+\sFROM|INSERT\s+(OR \w+ )?INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|TRIGGER|INDEX))\b"
    r"|\bfrom\(bucket|\|>\s*(range|filter)\(",
    re.DOTALL,
)

# file, function, why its statement may be put together
EXPLAINED = {
    ("gateway/ledger/schema.py", "connect"): "table names and keys are constants of that module",
    ("gateway/ledger/writer.py", "_exists"): "its callers give constant tables and conditions",
    ("gateway/store/influxdb.py", "clear"): "delete takes no parameters; the name rule is checked",
}


class Module:
    """One file: its constants by name, and its functions."""

    def __init__(self, path):
        self.path = path
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.constants = _assigned(self.tree.body)
        self.imported = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    self.imported[alias.asname or alias.name] = (node.module, alias.name)

    def functions(self):
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def _assigned(body):
    """Names and every expression that is bound to them."""
    found = {}
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    for name, value in _pairs(target, node.value):
                        found.setdefault(name, []).append(value)
            elif isinstance(node, ast.NamedExpr):
                found.setdefault(node.target.id, []).append(node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                found.setdefault(ast.unparse(node.target), []).append(node.iter)
    return found


def _pairs(target, value):
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from _pairs(one, its)
    elif isinstance(target, ast.Name):
        yield target.id, value


class Judge:
    """Whether an expression in a function is constant text."""

    def __init__(self, module, function):
        self.module = module
        self.bound = _assigned(function.body)
        self.open = set()
        arguments = function.args
        self.parameters = {
            one.arg for one in [*arguments.args, *arguments.posonlyargs, *arguments.kwonlyargs]
        }

    def is_constant(self, node):
        match node:
            case ast.Constant(value=str() | int()):
                return True
            case ast.JoinedStr(values=parts):
                return all(self.is_constant(part) for part in parts)
            case ast.FormattedValue(value=value):
                return self.is_constant(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self.is_constant(left) and self.is_constant(right)
            case ast.IfExp(body=one, orelse=other):
                return self.is_constant(one) and self.is_constant(other)
            case ast.Name(id=name):
                return self._is_constant_name(name)
            case _:
                return False

    def _is_constant_name(self, name):
        if name in self.open:
            return True  # it grows by itself; what it grows by is judged where it stands
        if name in self.bound:
            self.open.add(name)
            try:
                starts_here = name not in self.parameters
                return starts_here and all(map(self.is_constant, self.bound[name]))
            finally:
                self.open.discard(name)
        if name in self.parameters:
            return False
        if name in self.module.constants:
            return all(self.is_constant(value) for value in self.module.constants[name])
        if name in self.module.imported:
            home, own_name = self.module.imported[name]
            path = ROOT / (home.replace(".", "/") + ".py")
            if path.exists():
                module = Module(path)
                return all(
                    isinstance(value, ast.Constant)
                    for value in module.constants.get(own_name, [None])
                )
        return False


def modules():
    return [Module(path) for folder in PRODUCTION for path in sorted((ROOT / folder).rglob("*.py"))]


def _walk_own(function):
    """The nodes of a function without those of functions inside it."""
    waiting = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(ast.iter_child_nodes(node))


def built(module):
    """Function and line of every statement that is not constant text."""
    for function in module.functions():
        judge = Judge(module, function)
        for node in _walk_own(function):
            if _runs_statement(node) and node.args and not judge.is_constant(node.args[0]):
                if function.name in OWN and isinstance(node.args[0], ast.Name):
                    continue  # handed on as it came; the callers are checked
                yield function.name, node.lineno
            elif isinstance(node, ast.JoinedStr) and _reads_as_statement(node):
                if not judge.is_constant(node):
                    yield function.name, node.lineno
            elif _formats_statement(node):
                yield function.name, node.lineno


def _runs_statement(node):
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in DATABASE | OWN
    )


def _text(node):
    return "".join(
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def _reads_as_statement(node):
    return STATEMENT.search(_text(node)) is not None


def _formats_statement(node):
    """``"SELECT ..." % x`` and ``"SELECT ...".format(x)``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return isinstance(node.left, ast.Constant | ast.JoinedStr) and _reads_as_statement(
            node.left
        )
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("format", "join", "replace")
        and _reads_as_statement(node.func.value)
    )


def test_every_statement_is_constant_text_or_explained():
    found = {
        (str(module.path.relative_to(ROOT)), function): line
        for module in modules()
        for function, line in built(module)
    }
    assert {place: line for place, line in found.items() if place not in EXPLAINED} == {}
    assert set(EXPLAINED) <= set(found), "an explanation without a statement"


def test_there_are_statements_to_check():
    calls = [
        node for module in modules() for node in ast.walk(module.tree) if _runs_statement(node)
    ]
    assert len(calls) > 100


@pytest.mark.parametrize(
    "body",
    [
        'db.execute(f"SELECT a FROM b WHERE c = {name}")',
        'db.execute("SELECT a FROM b WHERE c = " + name)',
        'db.execute("SELECT a FROM b WHERE c = %s" % name)',
        'db.execute("SELECT a FROM b WHERE c = {}".format(name))',
        "db.execute(name)",
        'query = "SELECT a FROM b"\n    if name:\n        query = query + name\n    db.execute(query)',
        'query = "SELECT a FROM b"\n    query += name\n    db.execute(query)',
        'self._all(f"SELECT a FROM {name}", ())',
        'flux = f"from(bucket: {name})"\n    return flux',
        'return f"DELETE FROM {name}"',
        "for one in name:\n        db.execute(one)",
    ],
)
def test_a_statement_with_a_value_in_it_is_found(tmp_path, body):
    path = tmp_path / "planted.py"
    path.write_text(f'TABLE = "b"\n\n\ndef planted(self, db, name):\n    {body}\n')
    assert [function for function, _ in built(Module(path))]


@pytest.mark.parametrize(
    "body",
    [
        'db.execute("SELECT a FROM b WHERE c = ?", (name,))',
        'db.execute(f"SELECT a FROM {TABLE} WHERE c = ?", (name,))',
        'query = "SELECT a FROM b"\n    query += " WHERE c = ?"\n    db.execute(query, (name,))',
        'print(f"select {name} from the list")',
    ],
)
def test_a_statement_with_parameters_is_not(tmp_path, body):
    path = tmp_path / "planted.py"
    path.write_text(f'TABLE = "b"\n\n\ndef planted(self, db, name):\n    {body}\n')
    assert not list(built(Module(path)))
