"""A reader of PyTorch's files for these tests, after the description of the format: it interprets a few opcodes of the
pickle, looks nothing up, and calls nothing."""

import pathlib
import pickletools
import zipfile

import numpy as np

REBUILD, HOOKS = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
STORAGES = {"torch FloatStorage": "<f4", "torch IntStorage": "<i4", "torch LongStorage": "<i8"}


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Name -> array of a state dictionary. Fails on anything that `torch.load(weights_only=True)` would not take."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert all(i.compress_type == zipfile.ZIP_STORED for i in archive.infolist())
        (root,) = {name.split("/")[0] for name in archive.namelist()}
        files = {name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()}
    assert files["version"] == b"3\n" and files["byteorder"] == b"little"
    return evaluate(files["data.pkl"], files)


def evaluate(pickle: bytes, files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """What the pickle says, with a tensor for each call that makes one."""
    stack, mark = [], object()

    def popped() -> list:
        i = len(stack) - 1 - next(k for k, v in enumerate(reversed(stack)) if v is mark)
        items = stack[i + 1 :]
        del stack[i:]
        return items

    for opcode, argument, _ in pickletools.genops(pickle):
        match opcode.name:
            case "PROTO":
                assert argument == 2
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                stack.append(mark)
            case "BINUNICODE" | "LONG1" | "GLOBAL":
                stack.append(argument)
            case "NEWFALSE":
                stack.append(False)
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE":
                stack.append(tuple(popped()))
            case "BINPERSID":
                stack.append(_storage(*stack.pop(), files=files))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "SETITEMS":
                items = popped()
                stack[-1].update(zip(items[::2], items[1::2], strict=True))
            case "STOP":
                (found,) = stack
                return found
            case _:
                raise AssertionError(f"unexpected opcode {opcode.name}")
    raise AssertionError("the pickle does not stop")


def _storage(kind, dtype, key, device, elements, *, files) -> np.ndarray:
    assert (kind, device) == ("storage", "cpu")
    numbers = np.frombuffer(files[f"data/{key}"], STORAGES[dtype])
    assert len(numbers) == elements
    return numbers


def _call(function: str, arguments: tuple):
    if function == HOOKS:
        assert arguments == ()
        return "no hooks"
    assert function == REBUILD
    storage, offset, shape, strides, requires_grad, hooks = arguments
    assert (offset, requires_grad, hooks) == (0, False, "no hooks")
    found = np.lib.stride_tricks.as_strided(storage, shape, [storage.itemsize * s for s in strides], writeable=False)
    assert found.size == storage.size
    return found
