"""Says what cloud-init's YAML reader makes of each text of a JSON list: null where it is one mapping,
else why it is not. With `--c`, libyaml's loader is asked instead.
"""

import json
import sys

import yaml

LOADER = yaml.CSafeLoader if "--c" in sys.argv else yaml.SafeLoader


def why_not(text):
    try:
        data = yaml.load(text, LOADER)
    # cloud-init drops a text for whatever goes wrong with it.
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None if isinstance(data, dict) else f"a {type(data).__name__}"


json.dump([why_not(text) for text in json.load(sys.stdin)], sys.stdout)
