#!/usr/bin/python3 -I
"""Judges this box: whether it is what a site accepts.

    judge.py STAGE…           the checks of these stages; status 1 where one fails, and its reason first
    judge.py --say CHECK WHY  what a stage's own script has found; with an empty WHY it has passed
    judge.py --summary        what was checked until now, in a line
    judge.py --try            what is wrong with `checks` and `expect` of the manifest
    judge.py --list           every check, and every field of `expect`

gb10-onboard fetches it with the stages, which call it. README.md says what each check is about.
"""
import json, os, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import facts
from checks import CHECKS, NotJudged
from facts import STATE, read, read_json, replace
from wanted import EXPECT, Wrong, choices, try_choices, try_name

CHECKED = STATE / "checked.json"  # what came of each check
BY_SCRIPT = ("gpu-container",)  # stages/60-verify.sh looks, and says what it found
REASON = 500  # the most bytes of a reason: the server takes no more

def judge(name, find):
    """What comes of a check, and why: passed, failed, warned, waived, off or "not judged"."""
    default = CHECKS[name][1] if name in CHECKS else "fail"
    choice = choices().get(name, default)
    if choice == "off":
        return "off", ""
    try:
        reason = find()
    except NotJudged as why:
        return "not judged", str(why)
    except Exception as why:  # nothing passes for a fault of its check
        reason = f"could not be judged: {type(why).__name__}: {why}"
    if not reason:
        return "passed", ""
    reason = " ".join(reason.split()).encode()[:REASON].decode("utf-8", "ignore")
    if choice == "fail":
        return "failed", reason
    return "waived" if default == "fail" else "warned", reason

def keep(results):
    """Puts the results on record: for the summary, and what was judged for the report of the stage, where what has a
    reason is a warning."""
    replace(CHECKED, json.dumps({**read_json(read(CHECKED)), **results}))
    if "GB10_WARNINGS" in os.environ:
        with open(os.environ["GB10_WARNINGS"], "a") as file:
            for name, (result, reason) in results.items():
                if result == "not judged":
                    continue
                warning = {"reason": reason} if result in ("warned", "waived") else {}
                waived = {"waived": True} if result == "waived" else {}
                print(json.dumps({"check": name, **warning, **waived}), file=file)
            file.flush()
            os.fsync(file.fileno())

def tell(results):
    """The results in words, failures first. Returns the status to exit with."""
    of = lambda *wanted: [(name, reason) for name, (result, reason) in results.items() if result in wanted]
    for name, reason in of("failed"):
        print(f"{name}: {reason}")
    for name, reason in of("warned", "waived"):
        print(f"warning: {name}{' (waived)' if results[name][0] == 'waived' else ''}: {reason}")
    print(summary(results))
    return 1 if of("failed") else 0

def summary(results):
    """How many checks passed, and the names of all others."""
    named = []
    for result in "failed", "warned", "waived", "not judged", "off":
        if names := [name for name, (found, _) in results.items() if found == result]:
            named.append(f"{result}: {', '.join(names)}")
    passed = sum(result == "passed" for result, _ in results.values())
    return "; ".join([f"{passed} checks passed", *named])

def keep_facts():
    """For the reports of `verify` and `ready`."""
    if os.environ.get("GB10_STAGE") == "verify":
        replace(STATE / "facts.json", facts.document(facts.facts()))

def judge_stages(stages):
    """Judges all checks of these stages, but for those that a script has a say of its own in."""
    keep_facts()
    wanted = {name: find for name, (stage, _, find) in CHECKS.items() if stage in stages and name not in BY_SCRIPT}
    results = {name: judge(name, find) for name, find in wanted.items()}
    keep_facts()  # those of the load have come
    keep(results)
    return tell(results)

def judge_one(name, why):
    """Judges what a script has found."""
    try_name(name, CHECKS)
    results = {name: judge(name, lambda: why)}
    keep(results)
    return tell(results) if results[name][0] in ("failed", "warned", "waived") else 0

def main(arguments):
    match arguments:
        case ["--say", name, why]: return judge_one(name, why)
        case ["--summary"]: print(summary({**dict.fromkeys(CHECKS, ("not judged", "")), **read_json(read(CHECKED))}))
        case ["--try"]: try_choices(CHECKS)
        case ["--list"]:
            for name, (stage, default, function) in CHECKS.items():
                print("check", name, stage, default, function.__doc__, sep="\t")
            for name, (kind, default, words) in EXPECT.items():
                print("expect", name, kind, json.dumps(default), words, sep="\t")
        case [*stages] if stages and not stages[0].startswith("-"): return judge_stages(stages)
        case _: sys.exit(__doc__)

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Wrong as why:
        print(f"manifest.json: {why}")
        sys.exit(1)
