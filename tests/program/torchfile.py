"""torchfile.py: writes and reads checkpoints without torch: Python's own pickle and zipfile, with classes that only
carry torch's names. What is written is what torch.save would write, entry by entry.

    write_torch(path, {"wte.weight": Tensor("F32", [2, 3], data)})

Tensors may share a storage, begin inside it, and have strides of their own.
"""
import collections
import io
import json
import pickle
import struct
import sys
import types
import zipfile

STORAGES = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2),
            "F64": ("DoubleStorage", 8), "I64": ("LongStorage", 8), "I32": ("IntStorage", 4), "I16": ("ShortStorage", 2),
            "I8": ("CharStorage", 1), "U8": ("ByteStorage", 1), "BOOL": ("BoolStorage", 1)}


def _module(name):
    if "." in name:
        _module(name.rpartition(".")[0])
    return sys.modules.setdefault(name, types.ModuleType(name))


def _named(module, name, kind):
    """A class or function that pickles as module.name."""
    _module(module)
    kind.__module__, kind.__qualname__, kind.__name__ = module, name, name
    setattr(sys.modules[module], name, kind)
    return kind


_CLASSES = {label: _named("torch", name, type(name, (), {})) for label, (name, _) in STORAGES.items()}
_REBUILD = _named("torch._utils", "_rebuild_tensor_v2", lambda *args: None)
_PARAMETER = _named("torch._utils", "_rebuild_parameter", lambda *args: None)


class Storage:
    """Bytes of one number format, shared by any number of tensors."""

    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, bytes(data)


def dense_strides(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.insert(0, step)
        step *= max(extent, 1)
    return tuple(strides)


class Tensor:
    """A tensor over bytes, or over a Storage at an offset with strides (both in elements)."""

    def __init__(self, dtype, shape, data, offset=0, strides=None, parameter=False):
        self.storage = data if isinstance(data, Storage) else Storage(dtype, data)
        self.shape, self.offset, self.parameter = tuple(shape), offset, parameter
        self.strides = tuple(strides) if strides is not None else dense_strides(shape)

    def __reduce__(self):
        args = (self.storage, self.offset, self.shape, self.strides, False, collections.OrderedDict())
        if not self.parameter:
            return _REBUILD, args
        plain = Tensor(self.storage.dtype, self.shape, self.storage, self.offset, self.strides)
        return _PARAMETER, (plain, True, collections.OrderedDict())


class _Pickler(pickle.Pickler):
    def __init__(self, file, protocol, storages):
        super().__init__(file, protocol)
        self.storages = storages

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        if thing not in self.storages:
            self.storages.append(thing)
        count = len(thing.data) // STORAGES[thing.dtype][1]
        return ("storage", _CLASSES[thing.dtype], str(self.storages.index(thing)), "cpu", count)


def torch_bytes(thing, protocol=2, root="archive", extra=()):
    """What torch.save would write for an object; `extra`: more entries, (name, bytes)."""
    storages, pickled, out = [], io.BytesIO(), io.BytesIO()
    _Pickler(pickled, protocol, storages).dump(thing)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", pickled.getvalue())
        archive.writestr(f"{root}/byteorder", b"little")
        for i, storage in enumerate(storages):
            archive.writestr(f"{root}/data/{i}", storage.data)
        archive.writestr(f"{root}/version", b"3\n")
        for name, data in extra:
            archive.writestr(name, data)
    return out.getvalue()


def write_torch(path, thing, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(torch_bytes(thing, **options))


def read_safetensors(path):
    """{name: (dtype, shape, bytes)} of one file."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


def read_instance(folder):
    """The weights of a folder in Hugging Face's layout, whatever the number of its files."""
    weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights.update(read_safetensors(path))
    return weights


def transpose(data, size, rows, cols):
    """The matrix [rows, cols] of elements of `size` bytes, turned round."""
    return b"".join(data[(r * cols + c) * size:(r * cols + c + 1) * size] for c in range(cols) for r in range(rows))
