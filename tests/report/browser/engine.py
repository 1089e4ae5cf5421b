"""The page's engine (front/src/engine) run without the page: in Chromium, or in Node where there is no Chromium."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import monosem_jax.report.browser as browser

WORKER = pathlib.Path(browser.__file__).parent / "built" / "worker.js"
NODE = shutil.which("node")
TYPES = {"Float32Array": "<f4", "Int32Array": "<i4", "Uint8Array": "u1"}

# Bytes and typed arrays travel as base64, texts as UTF-16 units: a lone surrogate has no other way.
TRAVEL = """
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const inward = (x) => Array.isArray(x) ? x.map(inward) : x === null || typeof x !== "object" ? x
  : "base64" in x ? bytes(x.base64) : "units" in x ? String.fromCharCode(...x.units)
  : Object.fromEntries(Object.entries(x).map(([k, v]) => [k, inward(v)]));
const outward = (x) => {
  if (Array.isArray(x)) return x.map(outward);
  if (x === null || typeof x !== "object") return x;
  if (!ArrayBuffer.isView(x)) return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, outward(v)]));
  const raw = new Uint8Array(x.buffer, x.byteOffset, x.byteLength);
  let text = "";
  for (let i = 0; i < raw.length; i += 8192) text += String.fromCharCode(...raw.subarray(i, i + 8192));
  return { type: x.constructor.name, base64: btoa(text) };
};
"""
IN_CHROMIUM = (
    "async ({ source, questions }) => {"
    + TRAVEL
    + """
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const found = [];
  for (const [number, question] of questions.entries()) {
    const answered = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => "partial" in data || resolve(data);
      worker.onerror = (e) => reject(new Error(e.message));
    });
    worker.postMessage({ number, ...inward(question) });
    found.push(outward(await answered));
  }
  worker.terminate();
  return found;
}"""
)
IN_NODE = (
    """const { source, questions } = JSON.parse(require("fs").readFileSync(0, "utf8"));"""
    + TRAVEL
    + """
const found = [];
globalThis.postMessage = (answer) => "partial" in answer || found.push(outward(answer));
require("vm").runInThisContext(source);
questions.forEach((question, number) => globalThis.onmessage({ data: { number, ...inward(question) } }));
process.stdout.write(JSON.stringify(found));
"""
)


@pytest.fixture(scope="session")
def ask(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    """ask(question, …): what a fresh worker answers to questions of protocol.ts, one after the other."""
    if not WORKER.exists():
        pytest.skip("the engine is not built: run `npm ci && npm run build` in monosem_jax/report/browser/front")
    try:
        run = functools.partial(_in_chromium, request.getfixturevalue("chromium"))
    except pytest.skip.Exception as e:
        if NODE is None:
            pytest.skip(f"{e}, or Node.js")
        run = in_node

    def asked(*questions: dict[str, Any]) -> list[Any]:
        given = {"source": WORKER.read_text(encoding="utf-8"), "questions": [outward(q) for q in questions]}
        return [inward(a) for a in run(given)]

    return asked


@pytest.fixture(scope="session")
def answers(ask: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """The same, where no question may fail."""

    def answered(*questions: dict[str, Any]) -> list[Any]:
        found = ask(*questions)
        assert not [a["error"] for a in found if "error" in a]
        return [a["answer"] for a in found]

    return answered


def _in_chromium(chromium: Any, given: dict[str, Any]) -> list[Any]:
    page = chromium.new_page()
    try:
        return page.evaluate(IN_CHROMIUM, given)
    finally:
        page.close()


def in_node(given: dict[str, Any]) -> list[Any]:
    done = subprocess.run([NODE, "-e", IN_NODE], input=json.dumps(given), capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def outward(x: Any) -> Any:
    if isinstance(x, bytes):
        return {"base64": base64.b64encode(x).decode()}
    if isinstance(x, str):
        units = np.frombuffer(x.encode("utf-16-le", "surrogatepass"), "<u2")
        return {"units": units.tolist()} if re.search("[\ud800-\udfff]", x) else x
    if isinstance(x, dict):
        return {k: outward(v) for k, v in x.items()}
    return [outward(v) for v in x] if isinstance(x, (list, tuple)) else x


def inward(x: Any) -> Any:
    if isinstance(x, list):
        return [inward(v) for v in x]
    if isinstance(x, dict) and "base64" in x:
        return np.frombuffer(base64.b64decode(x["base64"]), TYPES[x["type"]])
    return {k: inward(v) for k, v in x.items()} if isinstance(x, dict) else x


def chunk(folder: pathlib.Path, key: str) -> bytes:
    """The bytes of a data file, as the page reads it."""
    text = (folder / "data" / f"{key}.js").read_text(encoding="ascii")
    found = re.fullmatch(r'monosem\("([^"]+)","([^"]+)"\)\n', text)
    assert found and found[1] == key
    return gzip.decompress(base64.b64decode(found[2]))


def load_question(folder: pathlib.Path, key: str) -> dict[str, Any]:
    """The question that loads the model that was written under `key`."""
    manifest = json.loads(chunk(folder, key))
    packs = [[chunk(folder, part) for part in keys] for keys in manifest["packs"]]
    tokenizer = json.loads(chunk(folder, manifest["tokenizer"]))
    return {"kind": "load", "manifest": manifest, "tokenizer": tokenizer, "packs": packs}


def stored(question: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a model as its files have them, fp32."""
    packs = [b"".join(parts) for parts in question["packs"]]
    found = {}
    for name, entry in question["manifest"]["tensors"].items():
        data, shape, at = packs[entry["pack"]], entry["shape"], entry["offset"]
        n = int(np.prod(shape))
        if entry["dtype"] == "float32":
            array = np.frombuffer(data, "<f4", n, at)
        elif entry["dtype"] == "float16":
            high, low = np.frombuffer(data, "u1", 2 * n, at).reshape(2, n)
            array = np.stack([low, high], axis=1).reshape(-1).view("<f2").astype(np.float32) * entry["scale"]
        else:
            scales = np.frombuffer(data, "<f4", shape[0], entry["scales"])
            array = np.frombuffer(data, "i1", n, at).reshape(shape).astype(np.float32) * scales[:, None]
        found[name] = array.reshape(shape).astype(np.float32)
    return found
