"""The dtype of the column `tags`: each value a tuple of texts, kept once however many alerts have it."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pandas.api.extensions import ExtensionArray, ExtensionDtype, register_extension_dtype, take

Tags = tuple[str, ...]

_LIST = pa.list_(pa.string())


@register_extension_dtype
class TagsDtype(ExtensionDtype):
    """Tuples of texts. An alert without tags has an empty one, so no value is missing."""

    name = "tags"
    type = tuple
    na_value: ClassVar[Tags] = ()

    def __str__(self) -> str:
        # What pandas calls a column of Python values. Others go by this text: DuckDB, and pandas without labkit when it
        # reads a Parquet file.
        return "object"

    @classmethod
    def construct_array_type(cls) -> builtins.type[TagsArray]:
        return TagsArray

    def __from_arrow__(self, array: pa.Array | pa.ChunkedArray) -> TagsArray:
        """The column as it was before it became Arrow's, as in a Parquet file."""
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        stored = [chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk for chunk in chunks]
        return TagsArray.of(tuple(value or ()) for chunk in stored for value in chunk.to_pylist())


class _ArrowTags(pa.ExtensionType):  # type: ignore[misc]
    """Lists of texts that pandas reads as `TagsDtype` where labkit is imported; elsewhere they are lists."""

    def __init__(self) -> None:
        super().__init__(_LIST, "labkit.tags")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> _ArrowTags:
        return cls()

    def to_pandas_dtype(self) -> TagsDtype:
        return TagsDtype()


pa.register_extension_type(_ArrowTags())


class TagsArray(ExtensionArray):
    """An array of `TagsDtype`: for each row the position of its tuple in `distinct`."""

    def __init__(self, codes: Any, distinct: Sequence[Tags]) -> None:
        self._codes = codes
        self._distinct = tuple(distinct)

    @classmethod
    def of(cls, values: Iterable[Iterable[str] | None]) -> TagsArray:
        known: dict[Tags, int] = {}
        codes = [known.setdefault(tags, len(known)) for tags in (tuple(value or ()) for value in values)]
        return cls(np.array(codes, dtype=np.min_scalar_type(len(known))), tuple(known))

    @classmethod
    def _from_sequence(cls, scalars: Iterable[Any], *, dtype: Any = None, copy: bool = False) -> TagsArray:
        return cls.of(() if pd.api.types.is_scalar(value) and pd.isna(value) else value for value in scalars)

    @classmethod
    def _from_factorized(cls, values: Any, original: TagsArray) -> TagsArray:
        return cls.of(values)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[TagsArray]) -> TagsArray:
        return cls.of(value for array in to_concat for value in array)

    @property
    def dtype(self) -> TagsDtype:
        return TagsDtype()

    @property
    def nbytes(self) -> int:
        return int(self._codes.nbytes) + sum(len(tag) for tags in self._distinct for tag in tags)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, item: Any) -> Any:
        item = pd.api.indexers.check_array_indexer(self, item)
        chosen = self._codes[item]
        return type(self)(chosen, self._distinct) if isinstance(chosen, np.ndarray) else self._distinct[chosen]

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError("Tags can't be changed in place. Assign the column: df['tags'] = [...].")

    def __eq__(self, other: object) -> Any:
        if isinstance(other, pd.Series | pd.Index | pd.DataFrame):
            return NotImplemented
        others = other if isinstance(other, TagsArray) else [other] * len(self)
        return np.array([mine == theirs for mine, theirs in zip(self, others, strict=True)], dtype=bool)

    def isna(self) -> Any:
        return np.zeros(len(self), dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> TagsArray:
        distinct = self._distinct
        if allow_fill and () not in distinct:
            distinct = (*distinct, ())
        fill = distinct.index(()) if allow_fill else 0
        codes = self._codes.astype(np.min_scalar_type(len(distinct)))
        return type(self)(take(codes, indices, fill_value=fill, allow_fill=allow_fill), distinct)

    def copy(self) -> TagsArray:
        return type(self)(self._codes.copy(), self._distinct)

    def _explode(self) -> tuple[Any, Any]:
        """The texts one after the other, missing for an empty tuple, and how many each row has."""
        texts = [text for tags in self for text in (tags or (None,))]
        return pd.array(texts, dtype="str"), np.array([max(len(tags), 1) for tags in self], dtype="uint64")

    def __arrow_array__(self, type: Any = None) -> pa.Array:
        values = pa.array([list(tags) for tags in self._distinct], _LIST).take(pa.array(self._codes))
        return pa.ExtensionArray.from_storage(_ArrowTags(), values)

    def _values_for_factorize(self) -> tuple[Any, Any]:
        return self._objects(), None

    def _objects(self) -> Any:
        values = np.empty(len(self), dtype=object)
        values[:] = [self._distinct[code] for code in self._codes]
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._objects()

    def _formatter(self, boxed: bool = False) -> Any:
        return lambda tags: " ".join(tags) if boxed else repr(tags)
