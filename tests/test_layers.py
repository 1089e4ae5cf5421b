"""The shape of the source: imports go downwards only, dangerous calls are absent, files and functions stay small."""

import ast
import functools
import itertools
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ("monosem_jax", "experiments", "launch")
FILES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
FILE_LINES, FUNCTION_LINES = 300, 75

# A package is a layer and may import what lies in a lower one; those on one line are strangers to each other.
LAYERS = [
    ["runtime"],
    ["training"],
    ["text"],
    ["models"],
    ["activations"],
    ["sae"],
    ["analysis", "toy"],
    ["load"],
    ["interop", "report"],
    ["stages"],
    ["experiments"],
    ["launch"],
]
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
# Who alone may import a library: everything else is to go through it.
DOORS = {
    "tensorstore": [
        "monosem_jax/activations/store/",
        "monosem_jax/runtime/kvstore.py",
        "monosem_jax/runtime/checkpoint/read.py",
    ],
    "orbax": ["monosem_jax/runtime/checkpoint/read.py"],
    "absl": ["experiments/"],
    "ml_collections": ["experiments/"],
}
CODE_FROM_DATA = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@functools.cache
def tree(file: pathlib.Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def short(file: pathlib.Path) -> str:
    return file.relative_to(ROOT).as_posix()


def module_name(file: pathlib.Path) -> str:
    name = short(file).removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")


MODULES = {module_name(f) for f in FILES}


def imports(file: pathlib.Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file, those inside functions included."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{short(file)}:{node.lineno} imports relatively"
            for a in node.names:
                inside = f"{node.module}.{a.name}"
                yield node.lineno, inside if inside in MODULES else node.module


def unit(module: str) -> str:
    """The name in LAYERS that a module of this repository belongs to; "" for the package itself."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else "") if parts[0] == "monosem_jax" else parts[0]


def layer(module: str) -> int:
    """The number of a module's layer; above all of them for the package itself, which only users import."""
    return LAYER.get(unit(module), len(LAYERS))


def own_imports() -> Iterator[tuple[str, str, str, str]]:
    """(place, importing module, its unit, imported module) for all imports within the repository."""
    for file in FILES:
        for line, module in imports(file):
            if module.split(".")[0] in PACKAGES and file != ROOT / "monosem_jax" / "__init__.py":
                yield f"{short(file)}:{line}", module_name(file), unit(module_name(file)), module


def offenders(wrong) -> list[str]:
    return [f"{place} imports {module}" for place, name, of, module in own_imports() if wrong(name, of, module)]


def test_every_module_belongs_to_a_layer():
    units = {unit(m) for m in MODULES} - {""}
    assert units <= LAYER.keys(), f"no layer for {sorted(units - LAYER.keys())}"


def test_imports_go_downwards_only():
    assert not offenders(lambda name, of, module: LAYER[of] < layer(module))


def test_packages_on_one_line_are_strangers_to_each_other():
    assert not offenders(lambda name, of, module: LAYER[of] == layer(module) and of != unit(module))


def test_no_module_lies_directly_in_the_package_but_the_table_of_runs():
    found = {p.name for p in (ROOT / "monosem_jax").iterdir() if p.suffix == ".py"}
    assert found == {"__init__.py", "load.py"}


def test_no_modules_import_each_other_in_a_circle():
    edges = {m: set() for m in MODULES}
    for _, name, _, module in own_imports():
        edges[name].add(module)
    while leaves := [m for m in edges if not edges[m] & (edges.keys() - {m})]:
        for m in leaves:
            del edges[m]
    assert not edges, f"in a circle: {sorted(edges)}"


# Inside `analysis`: what all kinds of evidence share, then the kinds, strangers to each other, then what joins them.
SHARED_EVIDENCE = ("records", "feature_sets", "spectrum", "metrics", "scan", "examples", "windows", "subjects", "joint",
                   "logit_weights")  # fmt: skip
JOINED_EVIDENCE = ("collect", "run", "kinds", "relations", "on_text")


def part_of_analysis(module: str) -> str:
    """The file or folder of `analysis` that a module is in; "" for the package itself, records_io and such: records."""
    name = module.removeprefix("monosem_jax.analysis").removeprefix(".").split(".")[0]
    return "records" if name.startswith("records") else name


def test_kinds_of_evidence_are_strangers_to_each_other():
    """They know `SHARED_EVIDENCE`; what joins them knows all."""

    def foreign(name: str, of: str, module: str) -> bool:
        if not of == unit(module) == "analysis":
            return False
        importer, imported = part_of_analysis(name), part_of_analysis(module)
        if imported in ("", importer) or importer in JOINED_EVIDENCE:
            return False
        return imported not in SHARED_EVIDENCE or (importer in SHARED_EVIDENCE and imported in JOINED_EVIDENCE)

    assert not offenders(foreign)


def test_training_knows_neither_language_models_nor_dictionaries():
    assert not offenders(lambda name, of, module: of == "training" and unit(module) not in ("training", "runtime"))


def test_the_report_knows_only_the_runtime():
    assert not offenders(lambda name, of, module: of == "report" and unit(module) not in ("report", "runtime"))


def test_the_package_itself_imports_stages_for_type_checkers_only():
    file = ROOT / "monosem_jax" / "__init__.py"
    at_once = {n.module for n in tree(file).body if isinstance(n, ast.ImportFrom)}
    assert at_once == {"__future__", "typing"}
    assert {unit(m) for _, m in imports(file) if m.split(".")[0] in PACKAGES} == {"load", "stages"}


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_behind_its_door_only(library):
    places = [(short(f), line) for f in FILES for line, m in imports(f) if m.split(".")[0] == library]
    assert places, f"nothing imports {library}"
    assert not [f"{f}:{line}" for f, line in places if not any(f.startswith(d) for d in DOORS[library])]


def test_private_parts_of_jax_are_behind_two_doors():
    places = {short(f) for f in FILES for _, m in imports(f) if m.startswith("jax._src")}
    assert places == {"monosem_jax/runtime/processes.py", "monosem_jax/runtime/ambient.py"}


def test_nothing_is_imported_that_makes_code_from_data():
    assert not [
        f"{short(f)}:{n} imports {m}" for f in FILES for n, m in imports(f) if m.split(".")[0] in CODE_FROM_DATA
    ]


def dangerous(call: ast.Call) -> str:
    """Why a call may execute data, or ""."""
    name = ast.unparse(call.func)
    if name in ("eval", "exec", "builtins.eval", "builtins.exec", "compile", "__import__"):
        return f"calls {name}"
    for k in call.keywords:
        if k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False):
            return f"calls {name} with allow_pickle"
        if k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False):
            return f"calls {name} with shell"
    return f"calls {name}" if name in ("os.system", "os.popen", "yaml.load", "torch.load") else ""


def test_nothing_executes_data():
    calls = [(f, n) for f in FILES for n in ast.walk(tree(f)) if isinstance(n, ast.Call)]
    assert not [f"{short(f)}:{n.lineno} {why}" for f, n in calls if (why := dangerous(n))]


@pytest.mark.parametrize("line", ["eval(x)", "np.load(p, allow_pickle=True)", "run(c, shell=flag)", "os.system(c)"])
def test_the_check_for_dangerous_calls_finds_them(line):
    assert dangerous(ast.parse(line).body[0].value)


def test_no_file_is_too_long():
    lengths = {short(f): len(f.read_text(encoding="utf-8").splitlines()) for f in FILES}
    assert not {f: n for f, n in lengths.items() if n > FILE_LINES}


def test_no_function_is_too_long():
    functions = [
        (f, n) for f in FILES for n in ast.walk(tree(f)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    lengths = {f"{short(f)}:{n.lineno} {n.name}": n.end_lineno - n.lineno + 1 for f, n in functions}
    assert not {f: n for f, n in lengths.items() if n > FUNCTION_LINES}


def test_names_are_listed_in_one_layer_only():
    assert len(LAYER) == len(list(itertools.chain(*LAYERS)))
