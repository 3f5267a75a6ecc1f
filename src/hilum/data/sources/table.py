"""A table of your own: CSV or TSV (UTF-8, UTF-16 or GBK), JSONL, or Excel.

Columns are found by their names, in English or Chinese, else by what stands in them; what was
found is noted, and ``--columns role=name`` overrides it. Rows of one study stand together; one
cell may list several images, with ``;`` or ``|`` between them. Ids are hashed unless
``keep_ids``: a hospital's numbers do not enter the dataset, and the row's number finds them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from hilum.codes import Code, HilumError
from hilum.data.pair import Film, Pair
from hilum.data.sources import Given
from hilum.data.sources.files import IMAGE_SUFFIXES, encoding_of, opened, position
from hilum.data.sources.files import rows as text_rows
from hilum.report import LANGUAGES
from hilum.study import Context

SUFFIXES = frozenset(".csv .tsv .jsonl .ndjson .xlsx .gz".split())
_PEEK = 50  # rows that columns are guessed from

# Names of columns, compared without case, spaces and marks.
ROLES: dict[str, str] = {
    "image": "image images imagepath imagefile imageid img path filepath file filename dicom"
    " dicompath film 影像 图像 图片 影像路径 图像路径 图片路径 文件 文件名 文件路径 路径 胸片",
    "findings": "findings finding sectionfindings 所见 检查所见 影像所见 影像学所见 影像描述"
    " 影像表现 检查描述",
    "impression": "impression impressions conclusion conclusions diagnosis sectionimpression"
    " 诊断 影像诊断 影像学诊断 印象 结论 诊断意见 检查结论 诊断结论 检查诊断",
    "report": "report text caption description reporttext sentence"
    " 报告 报告内容 文本 描述 报告文本 影像报告",
    "patient": "patient patientid subject subjectid pid mrn"
    " 患者 患者id 病人 病人id 患者编号 病人编号 住院号 病历号 病案号",
    "study": "study studyid uid accession accessionnumber examid"
    " 检查号 检查编号 检查id 影像号 检查流水号",
    "position": "position view viewposition projection 体位 投照体位 投照位置",
    "age": "age patientage 年龄",
    "sex": "sex gender patientsex 性别",
    "indication": "indication history clinicalhistory 临床诊断 临床资料 病史 主诉",
    "split": "split subset partition fold 划分 数据划分",
    "language": "language lang 语言",
}
_SYNONYMS = {word: role for role, words in ROLES.items() for word in words.split()}
_SEXES = {"f": "F", "m": "M", "o": "O", "female": "F", "male": "M", "女": "F", "男": "M"}
_SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
_SPLITS |= {"validate": "validation", "validation": "validation", "dev": "validation"}
_SPLITS |= {
    "test": "test",
    "testing": "test",
    "训练": "train",
    "验证": "validation",
    "测试": "test",
}

Rows = Iterator[tuple[int, dict[str, Any]]]


def recognise(path: Path) -> bool:
    """A single file with the ending of a table, or a folder with exactly one."""
    return _table(path) is not None


def pairs(path: Path, given: Given) -> Iterator[Pair]:
    """A study a group of rows of the same study, or a row where there is no such column.

    Raises ``source_invalid`` where there is no table, or no column for the text (or, unless
    ``text_only``, for the image) can be found or was named.
    """
    table = _table(path)
    if table is None:
        raise HilumError(Code.SOURCE_INVALID, path, "no CSV, JSONL or Excel table")
    columns = choose_columns([row for _, row in islice(read(table), _PEEK)], given, table)
    folder = given.images or table.parent
    numbered = (
        (n, {role: _text(row.get(c)) for role, c in columns.items()}) for n, row in read(table)
    )
    for _, group in groupby(numbered, key=lambda item: item[1].get("study") or f"row {item[0]}"):
        yield to_pair(list(group), folder, given)


def _table(path: Path) -> Path | None:
    files = [path] if path.is_file() else sorted(path.glob("*")) if path.is_dir() else []
    tables = [f for f in files if f.suffix.lower() in SUFFIXES and f.is_file()]
    return tables[0] if len(tables) == 1 else None


def read(table: Path) -> Rows:
    """Numbered rows; a line that is none comes as an empty row."""
    suffix = table.suffixes[-2].lower() if table.suffix == ".gz" and len(table.suffixes) > 1 else ""
    suffix = suffix or table.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _jsonl(table)
    if suffix == ".xlsx":
        return _excel(table)
    return enumerate(text_rows(table), 2)


def _jsonl(table: Path) -> Rows:
    with opened(table, "rt", encoding=encoding_of(table)) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = {}
                yield number, row if isinstance(row, dict) else {}


def _excel(table: Path) -> Rows:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise HilumError(
            Code.EXTRA_MISSING, "Excel", "install it with: pip install 'hilum[excel]'"
        ) from error
    try:
        book = load_workbook(table, read_only=True, data_only=True)
        sheet = book.worksheets[0].iter_rows(values_only=True)
    except Exception as error:
        raise HilumError(Code.SOURCE_INVALID, table, f"no Excel: {type(error).__name__}") from None
    header = [_text(cell) for cell in next(sheet, ())]
    for number, cells in enumerate(sheet, 2):
        if any(cell is not None for cell in cells):
            yield number, dict(zip(header, cells, strict=False))


# -- columns --------------------------------------------------------------------------------------


def choose_columns(sample: list[dict[str, Any]], given: Given, subject: object) -> dict[str, str]:
    """Role to column: named by the caller, else by its heading, else by its content."""
    header = list(dict.fromkeys(name for row in sample for name in row))
    chosen: dict[str, str] = {}
    for role, column in given.columns.items():
        if role not in ROLES:
            raise HilumError(Code.OPTION_INVALID, "--columns", f"{role}: one of {', '.join(ROLES)}")
        if column not in header:
            raise HilumError(Code.SOURCE_INVALID, subject, f"no column {column}")
        chosen[role] = column
    for name in header:
        role = _SYNONYMS.get(re.sub(r"[\W_]+", "", name).lower(), "")
        if role and role not in chosen and name not in chosen.values():
            chosen[role] = name
    _by_content(sample, header, chosen, need_image=not given.text_only)
    given.notes.append("columns: " + ", ".join(f"{role}={name}" for role, name in chosen.items()))
    missing = [] if chosen.keys() & {"report", "findings", "impression"} else ["report"]
    missing += [] if given.text_only or "image" in chosen else ["image"]
    if missing:
        example = " ".join(f"--columns {role}=NAME" for role in missing)
        raise HilumError(Code.SOURCE_INVALID, subject, f"no column for {missing[0]}: say {example}")
    return chosen


def _by_content(
    sample: list[dict[str, Any]], header: list[str], chosen: dict[str, str], *, need_image: bool
) -> None:
    """An image column by the endings of its values, a report column as the longest texts."""
    free = [name for name in header if name not in chosen.values()]
    values = {name: [_text(row.get(name)) for row in sample] for name in free}
    if need_image and "image" not in chosen:
        for name in free:
            endings = [Path(v).suffix.lower() in IMAGE_SUFFIXES for v in values[name] if v]
            if endings and all(endings):
                chosen["image"] = name
                free.remove(name)
                break
    if not chosen.keys() & {"report", "findings", "impression"} and free:
        lengths = {name: sum(map(len, values[name])) / max(1, len(sample)) for name in free}
        longest = max(lengths, key=lambda name: lengths[name])
        if lengths[longest] >= 15:
            chosen["report"] = longest


# -- rows -----------------------------------------------------------------------------------------


def to_pair(group: list[tuple[int, dict[str, str]]], folder: Path, given: Given) -> Pair:
    """The study of one or more rows; texts and context come from the first."""
    number, row = group[0]
    study = row.get("study") or f"row-{number}"
    patient = row.get("patient") or study
    if not given.keep_ids:
        study = pseudonym(study) if row.get("study") else study
        patient = pseudonym(patient) if row.get("patient") else study
    flags = () if row.get("patient") else (Code.PATIENT_UNKNOWN,)
    try:
        films = [film for _, r in group for film in _films(r, folder)]
        language = row.get("language") or given.language
        if language not in (None, *LANGUAGES):
            raise HilumError(Code.LANGUAGE_UNSUPPORTED, "", "choose en or zh")
        return Pair(
            study_id=study,
            patient_id=patient,
            films=tuple(films),
            findings=row.get("findings")
            or ("" if row.get("impression") else row.get("report", "")),
            impression=row.get("impression", ""),
            language=language,
            context=Context(
                age=_age(row.get("age", "")),
                sex=_SEXES.get(row.get("sex", "").lower()),
                indication=row.get("indication") or None,
            ),
            split=_split(row.get("split", "")),
            where=f"row {number}",
            flags=flags,
        )
    except HilumError as error:
        return Pair(study, patient, where=f"row {number}", error=error)


def pseudonym(name: str) -> str:
    """12 hex digits that stand for a hospital's number."""
    return hashlib.sha256(f"hilum:{name}".encode()).hexdigest()[:12]


def _films(row: dict[str, str], folder: Path) -> Iterator[Film]:
    for name in re.split(r"[;|]", row.get("image", "")):
        if name.strip():
            yield Film(folder / name.strip(), position=position(row.get("position")))


def _age(text: str) -> int | None:
    """Whole years: "54", "54岁", "054Y", "54.0"; months and days are 0 years; else None."""
    match = re.fullmatch(
        r"0*(\d{1,3})(?:\.\d+)?\s*(岁|y|yrs?|years?|月|m|months?|天|日|d|days?)?", text.lower()
    )
    if match is None:
        return None
    years = int(match[1]) if (match[2] or "y")[0] in "岁y" else 0
    return years if years <= 130 else None


def split_name(text: str) -> str | None:
    """A split by any of its names; None for an unknown one."""
    return _SPLITS.get(text.strip().lower())


def _split(text: str) -> str | None:
    """The split of a row, None for none. Raises ``row_invalid`` for an unknown one."""
    split = split_name(text)
    if text and split is None:
        raise HilumError(Code.ROW_INVALID, "", "an unknown split")
    return split


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():  # Excel holds every number as a float
        return str(int(value))
    if isinstance(value, list):
        return ";".join(map(str, value))
    # JSON may hold half a surrogate pair, which no file can
    return str(value).encode("utf-8", "replace").decode().strip()
