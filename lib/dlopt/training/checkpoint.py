"""Checkpoints: one file, written atomically, that a run continues from bit by bit."""

import os
import pickle
import tempfile
import zipfile
from pathlib import Path

import torch

FORMAT = 1


def check_writable(path):
    """Create the checkpoint's directory where it is missing and make sure, before the run, that it can be written.

    Raises:
        OSError: it cannot; the message names the directory and the reason.
    """
    directory = Path(path).parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(
            error.errno, f"checkpoint directory {directory} cannot be written ({reason}); choose another path"
        ) from None


def write_checkpoint(path, payload):
    """Write ``payload`` so that ``path`` holds either the old file or the complete new one, whenever the power fails.

    The new file is written beside the old one, forced to the disk, then renamed over it.

    Args:
        path: the file.
        payload: dict of tensors, numbers, strings, lists and dicts.

    Raises:
        OSError: the disk is full or the directory not writable; an older checkpoint stays untouched.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"format": FORMAT, **payload}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(directory):
    if os.name == "posix":  # a rename is on the disk only once its directory is
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_checkpoint(path):
    """The contents of a checkpoint file, tensors on the CPU; no code in the file is run (``weights_only``).

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, damaged, or not a checkpoint of this library.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            if damaged := archive.testzip():
                raise ValueError(f"wrong checksum of {damaged}")
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {path} is truncated or damaged ({reason}); use an older copy") from None
    if not isinstance(payload, dict) or payload.get("format") != FORMAT:
        raise ValueError(f"{path} must be a checkpoint of format {FORMAT} written by dlopt.training, it is not")
    return payload


def check_same_model(path, saved, model):
    """Refuse a checkpoint whose tensors differ in name, shape or type from the model's.

    Args:
        path: named in the message.
        saved: the checkpoint's model ``state_dict``.
        model: the model that is to take it.

    Raises:
        ValueError: with the first difference.
    """
    own = model.state_dict()
    for name in [*own, *saved]:
        theirs, ours = _describe(saved.get(name)), _describe(own.get(name))
        if theirs != ours:
            raise ValueError(f"checkpoint {path} is from another model: {name} is {theirs} there and {ours} here")


def _describe(tensor):
    return "absent" if tensor is None else f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
