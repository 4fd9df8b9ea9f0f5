# SPDX-License-Identifier: BSD-2-Clause
"""The JSON Schema that is made from admin/json.def, and as much of JSON Schema as it uses: whatever relayctl prints with --json in any
test, and whatever stands in the event log, is held against it."""
import functools
import ipaddress
import json
import re

from world import build_dir

# What test_json.py leaves to others, since it takes other worlds: each of these files sees to it (conftest.py).
ELSEWHERE = {
    "test_events.py": r"event-gap\.(event|file|bytes|why)|event-refusals\.(?!node$|shortened$).*",
    "test_tls.py": r"event-.*\.(tls|cipher|tls_error|tls_session)",
    "test_backend_links.py": r"event-.*\.backend_tls",
    "test_reception.py": r"event-connection\.via",
    "test_sender_lists.py": r"event-message\.origin_client|status\.lists|lists-part\.lists|dns-list\..*",
    "test_sender_policy.py": r"event-check\.(answer|white_list)|simulated-check\.white_list",
    "test_milter.py": r"milter\.since_at",
    "test_greylist.py": r"greylist-row\.seen_at",
    "test_canary.py": r"canary\.end(_ms)?",
}
UNSEEN = ["event-gap.lines"]  # takes an event log that cannot be written
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, "null": type(None)}


@functools.cache
def the_schema():
    return Schema()


def check_printed(args, out):
    """`out`: what relayctl has printed on standard output, with whatever arguments."""
    words = [str(word) for word in args]
    if "--json" in words and "--help" not in words and words[0] != "completion":
        the_schema().check(words, [json.loads(line) for line in out.splitlines()])


class Schema:
    """`seen`: the fields that were there, and with something else than null. What several objects have in common is one field."""

    def __init__(self):
        made = json.loads((build_dir() / "admin/json-schema.json").read_text())
        self.commands, self.objects = made["commands"], made["$defs"]
        self.seen = set()
        self.printed = set()  # by commands

    def way_of(self, args):
        """What the command of these arguments prints: with an option of a way of its own, that."""
        words = [a for a in args if not a.startswith("-")]
        options = {a.partition("=")[0].removeprefix("--") for a in args if a.startswith("--")}
        name = " ".join(words[:2]) if " ".join(words[:2]) in self.commands else words[0]
        self.printed.add(name)
        ways = {way["when"]: way for way in self.commands[name]}
        return next((way for when, way in ways.items() if when in options), ways[""])

    def check(self, args, rows):
        """What was printed is as it is documented."""
        way = self.way_of(args)
        wrong = [] if way["shape"] == "lines" or len(rows) <= 1 or "--watch" in args else [f"{len(rows)} lines and not one"]
        for row in rows:
            wrong += self._check(way, row, "")
        assert not wrong, "\n".join([f"relayctl {' '.join(args)}: json.def is of another opinion", *wrong])

    def check_event(self, event):
        wrong = self._check({"$ref": "#/$defs/event"}, event, "")
        assert not wrong, "\n".join([f"{event}: json.def is of another opinion", *wrong])

    def _check(self, schema, value, place):
        if "$ref" in schema:
            schema = self._resolve(schema)
        if "oneOf" in schema:
            return self._check_one_of(schema["oneOf"], value, place)
        if {"type": "null"} in schema.get("anyOf", []):
            return [] if value is None else self._check(schema["anyOf"][0], value, place)
        wrong = self._check_value(schema, value)
        if wrong:
            return [f"{place}: {value!r} {wrong}"]
        if isinstance(value, list):
            return [c for i, one in enumerate(value) for c in self._check(schema.get("items", {}), one, f"{place}[{i}]")]
        return self._check_members(schema, value, place) if isinstance(value, dict) else []

    def _check_one_of(self, variants, value, place):
        for ref in variants:
            properties = self._resolve(ref)["properties"]
            key, const = next((k, p["const"]) for k, p in properties.items() if "const" in p)
            if value.get(key) == const:
                return self._check(ref, value, place)
        return [f"{place}: {value!r} is none of {[ref['$ref'] for ref in variants]}"]

    def _resolve(self, schema):
        return self.objects[schema["$ref"].removeprefix("#/$defs/")]

    def _check_value(self, schema, value):
        """What is wrong with it by itself."""
        kind = schema.get("type")
        if kind and (not isinstance(value, TYPES[kind]) or (kind in ("integer", "number") and isinstance(value, bool))):
            return f"is no {kind}"
        if "enum" in schema and value not in schema["enum"]:
            return f"is none of {schema['enum']}"
        if "const" in schema and value != schema["const"]:
            return f"is not {schema['const']}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return f"is not of the form {schema['pattern']}"
        if {"format": "ipv4"} in schema.get("anyOf", []):
            try:
                ipaddress.ip_address(value)
            except ValueError:
                return "is no address"
        return None

    def _check_members(self, schema, value, place):
        if "properties" not in schema:
            rest = schema.get("additionalProperties", {})
            return [c for key, one in value.items() for c in self._check(rest, one, f"{place}.{key}")] if rest else []
        properties = schema["properties"]
        wrong = [f"{place}.{key} is missing" for key in schema["required"] if key not in value]
        for key, one in value.items():
            if key not in properties:
                wrong.append(f"{place}.{key} is not documented")
                continue
            if one is not None:
                self.seen.add((key, json.dumps(properties[key])))
            wrong += self._check(properties[key], one, f"{place}.{key}")
        return wrong

    def never_seen(self):
        """The documented fields that were never there with a value."""
        return sorted(f"{name}.{field}" for name, schema in self.objects.items() for field, what in schema.get("properties", {}).items()
                      if (field, json.dumps(what)) not in self.seen)
