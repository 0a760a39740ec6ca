"""Renders every case with Python's Jinja2 and prints one JSON object.

    {"NN-name": {"ok": "text"} | {"error": "ExceptionType"}, ...}

A case is a template directly in templates/; those in its subfolders are for cases to include.
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


def main():
    templates = HERE / "templates"
    context = json.loads((HERE / "context.json").read_text(encoding="utf-8"))
    environment = jinja2.Environment(
        autoescape=False,
        loader=jinja2.FileSystemLoader(templates),
        undefined=SemiStrictUndefined,
    )
    cases = {}
    for case in sorted(path.stem for path in templates.glob("*.j2")):
        try:
            cases[case] = {"ok": environment.get_template(f"{case}.j2").render(context)}
        except Exception as error:
            cases[case] = {"error": type(error).__name__}
    json.dump(cases, sys.stdout)


if __name__ == "__main__":
    main()
