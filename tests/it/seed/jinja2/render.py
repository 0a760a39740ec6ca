"""Renders every case with Python's Jinja2 and prints one JSON object.

    {"NN-name": {"ok": "text"} | {"error": "ExceptionType"}, ...}

A case is a template directly in templates/; those in its subfolders are for cases to include.

With an argument, the cases are read from that file: a list of {name: text} with a "main" each.
"""

import json
import pathlib
import sys

import jinja2

HERE = pathlib.Path(__file__).parent


class SemiStrictUndefined(jinja2.StrictUndefined):
    """What minijinja calls SemiStrict: may be asked whether it is true, and nothing else."""

    __slots__ = ()

    def __bool__(self):
        return False


def environment_of(loader):
    """An environment as operators had it."""
    return jinja2.Environment(
        autoescape=False, loader=loader, undefined=SemiStrictUndefined, cache_size=0
    )


def outcome(environment, name, context):
    """What becomes of one template."""
    try:
        return {"ok": environment.get_template(name).render(context)}
    except Exception as error:
        return {"error": type(error).__name__}


def main():
    templates = HERE / "templates"
    context = json.loads((HERE / "context.json").read_text(encoding="utf-8"))
    if sys.argv[1:]:
        made = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
        case = {}

        def load(name):
            return case.get("/".join(jinja2.loaders.split_template_path(name)))

        environment = environment_of(jinja2.FunctionLoader(load))
        outcomes = []
        for case in made:
            outcomes.append(outcome(environment, "main", context))
        json.dump(outcomes, sys.stdout)
        return
    environment = environment_of(jinja2.FileSystemLoader(templates))
    cases = {}
    for case in sorted(path.stem for path in templates.glob("*.j2")):
        cases[case] = outcome(environment, f"{case}.j2", context)
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
