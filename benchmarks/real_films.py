"""What the embedded reader answers on real films: it must refuse every one, and say why.

    python -m benchmarks.real_films ../shared/data/dicom ../shared/data/xray/*

One row a DICOM study, one a folder of other films; with --outside also what the reader says when it
is made to read them, as a warning. Last line: JSON with the counts by code.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from hilum import imaging
from hilum.codes import HilumError
from hilum.findings import FindingName
from hilum.reading import gate
from hilum.reading.reader import Reader


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--outside", action="store_true", help="also read them outside the domain")
    args = parser.parse_args()
    reader = Reader.load()
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    gates: dict[str, Counter[str]] = defaultdict(Counter)
    called: Counter[str] = Counter()
    total = read = 0
    for files in imaging.scan(args.paths):
        total += 1
        first = files.paths[0]
        try:
            study = imaging.load(files)
        except HilumError as error:
            print(f"{'/'.join(first.parts[-2:]):72.72s} failed   {error.code}")
            folders[first.parent.name][str(error.code)] += 1
            continue
        report = reader.read_studies([study])[0]
        verdict = ", ".join(report.gate.reasons) or "read"
        own = ", ".join(gate.judge(study).reasons) or "accept"
        read += not report.abstained
        if "transfer_syntax" in study.views[0].header:
            print(f"{'/'.join(first.parts[-2:]):72.72s} {verdict} (gate alone: {own})")
        folders[first.parent.name][verdict] += 1
        gates[first.parent.name][own] += 1
        if args.outside and own == "accept" and len(study.views) == 1:
            outside = reader.read_studies([study], allow_outside_domain=True)[0]
            fracture = outside.finding(FindingName.FRACTURE)
            called[first.parent.name] += bool(fracture and fracture.present)
    for folder, counts in folders.items():
        print(f"{folder:28s} reader: {dict(counts)}  gate alone: {dict(gates[folder])}")
    if args.outside:
        print(f"NOT VALID, read outside the domain, fracture called present: {dict(called)}")
    codes = sum(folders.values(), Counter())
    print(json.dumps({"studies": total, "read": read, "codes": codes, "outside_called": called}))


if __name__ == "__main__":
    main()
