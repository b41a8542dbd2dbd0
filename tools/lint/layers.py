#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that every layer of src/lathe includes only layers that stand below it.

    tools/lint/layers.py [ROOT]        checks the #include "lathe/LAYER/…" lines, and that the lathe_layer()
                                       links of CMakeLists.txt allow all of them and nothing more
    tools/lint/layers.py --self-test   shows that each kind of mistake is found

LAYERS is the picture of docs/development.md: a layer may include itself, the layers that its line
names, and whatever those may include.
"""
import pathlib
import re
import sys
import tempfile

LAYERS = {
    "base": [],
    "tensor": ["base"],
    "formats": ["tensor"],
    "io": ["formats"],
    "backend": ["formats"],  # a peer of io: neither sees the other
    "text": ["io"],
    "model": ["backend", "io"],  # a peer of text
    "generate": ["model", "text"],
    # Peers: none includes another; only lab and cli compose them.
    "compress": ["generate"],
    "train": ["generate"],
    "eval": ["generate"],
    "export": ["generate"],
    "profile": ["generate"],
    "track": ["generate"],
    "lab": ["track", "compress", "train", "eval", "profile"],
    # Above lab, but not composing what lab composes.
    "report": ["track", "lab"],
    "serve": ["track", "lab"],
    "cli": ["report", "serve", "lab", "export"],
}
COMPOSED = {"compress", "train", "eval", "export", "profile"}
COMPOSERS = {"lab", "cli"}  # the layers that may see all of COMPOSED

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]lathe/([^/">]+)/', re.MULTILINE)
LINK = re.compile(r"^\s*lathe_layer\(([^)]*)\)", re.MULTILINE)
CLI_LINK = re.compile(r"target_link_libraries\(lathe\s+PRIVATE([^)]*)\)")


def allowed(layer):
    """All layers that `layer` may include, without itself."""
    below = set()
    for name in LAYERS[layer]:
        below |= {name} | allowed(name)
    if layer not in COMPOSERS and layer not in COMPOSED:
        below -= COMPOSED
    return below


def check_includes(root):
    """Complaints about includes, and {layer: {included layer}}."""
    complaints, used = [], {}
    source = root / "src/lathe"
    for path in sorted(source.rglob("*")):
        if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
            continue
        parts = path.relative_to(source).parts
        layer = parts[0]
        if len(parts) < 2 or layer not in LAYERS:
            complaints.append(f"{path}: lies in no known layer; the layers are {', '.join(LAYERS)}")
            continue
        text = path.read_text(encoding="utf-8")
        for match in INCLUDE.finditer(text):
            name = match.group(1)
            line = text.count("\n", 0, match.start(1)) + 1
            if name == layer:
                continue
            if name not in LAYERS:
                complaints.append(f"{path}:{line}: includes lathe/{name}/, which is no layer")
            elif name not in allowed(layer):
                complaints.append(f"{path}:{line}: {layer}/ includes {name}/, which does not stand below it")
            else:
                used.setdefault(layer, {}).setdefault(name, f"{path}:{line}")
    return complaints, used


def check_links(root, used):
    """The links of CMakeLists.txt keep to LAYERS, and reach everything that is included."""
    path = root / "CMakeLists.txt"
    text = path.read_text(encoding="utf-8")
    links = {}
    for match in LINK.finditer(text):
        words = match.group(1).split()
        if words and words[0] != "name":
            links[words[0]] = [w[len("lathe_"):] for w in words[1:] if w.startswith("lathe_")]
    cli = CLI_LINK.search(text)
    if cli:
        links["cli"] = [w[len("lathe_"):] for w in cli.group(1).split() if w.startswith("lathe_")]
    complaints = []
    for layer, names in links.items():
        if layer not in LAYERS:
            complaints.append(f"{path}: lathe_layer({layer}) is no known layer")
            continue
        for name in names:
            if name not in allowed(layer):
                complaints.append(f"{path}: lathe_layer({layer}) links lathe_{name}, which does not stand below it")

    def reach(layer):
        found = set()
        for name in links.get(layer, []):
            found |= {name} | reach(name)
        return found

    if not complaints:  # a wrong link could go in a circle
        for layer, names in used.items():
            for name, where in names.items():
                if layer not in links:
                    complaints.append(f"{path}: no lathe_layer({layer}), but {where} is there")
                elif name not in reach(layer):
                    complaints.append(f"{where}: {layer}/ includes {name}/, which CMakeLists.txt does not link to it")
    return complaints


def check(root):
    complaints, used = check_includes(root)
    return complaints + check_links(root, used)


GOOD_CMAKE = """function(lathe_layer name)
lathe_layer(base fmt::fmt)
lathe_layer(tensor lathe_base)
lathe_layer(formats lathe_tensor)
lathe_layer(io lathe_formats)
lathe_layer(backend lathe_formats)
lathe_layer(text lathe_io)
lathe_layer(model lathe_backend lathe_io)
lathe_layer(generate lathe_model lathe_text)
lathe_layer(eval lathe_generate)
lathe_layer(compress lathe_generate)
lathe_layer(track lathe_generate)
lathe_layer(lab lathe_track lathe_compress lathe_eval)
target_link_libraries(lathe PRIVATE lathe_lab)
"""


def self_test():
    cases = [  # what, files, changed CMake line, a part of the complaint ("" for none)
        ("what is right", {"io/a.h": "formats", "lab/a.cc": "compress", "cli/a.cc": "eval", "model/a.h": "io"}, None, ""),
        ("upwards", {"base/a.h": "io"}, None, "does not stand below"),
        ("between peers", {"eval/a.cc": "compress"}, None, "does not stand below"),
        ("model to text", {"model/a.cc": "text"}, None, "does not stand below"),
        ("backend to io", {"backend/cpu/a.cc": "io"}, None, "does not stand below"),
        ("track composing", {"track/a.cc": "eval"}, None, "does not stand below"),
        ("unknown layer", {"extra/a.cc": "base"}, None, "no known layer"),
        ("unknown include", {"io/a.cc": "bse"}, None, "which is no layer"),
        ("link upwards", {}, ("lathe_layer(io lathe_formats)", "lathe_layer(io lathe_model)"), "links lathe_model"),
        ("link missing", {"io/a.cc": "formats"}, ("lathe_layer(io lathe_formats)", "lathe_layer(io)"), "does not link"),
        ("layer missing", {"profile/a.cc": "model"}, None, "no lathe_layer(profile)"),
    ]
    failed = 0
    for what, files, change, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            cmake = GOOD_CMAKE.replace(*change) if change else GOOD_CMAKE
            (root / "CMakeLists.txt").write_text(cmake, encoding="utf-8")
            for name, include in files.items():
                path = root / "src/lathe" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f'#include "lathe/{include}/x.h"\n', encoding="utf-8")
            found = "\n".join(check(root))
        if (expected not in found) or bool(found) != bool(expected):
            failed += 1
            print(f"self-test '{what}': expected '{expected}', found '{found}'")
    print(f"layers self-test: {len(cases) - failed} of {len(cases)} cases right")
    return failed == 0


def main(arguments):
    if arguments == ["--self-test"]:
        return 0 if self_test() else 1
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).resolve().parents[2]
    complaints = check(root)
    print("\n".join(complaints), end="\n" if complaints else "")
    return 1 if complaints else 0


sys.exit(main(sys.argv[1:]))
