"""The gallery: film with both sides' boxes, reference and draft with what disagrees marked."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence, Set
from html import escape

from PIL import Image

from hilum.codes import HilumError
from hilum.data.rows import Dataset, Reference
from hilum.evaluation.case import System, Uncertain
from hilum.evaluation.gallery import Mistake, Worst, marked
from hilum.evaluation.page.words import STATUSES, both, say, term
from hilum.findings import FINDINGS, Finding, FindingName, Status
from hilum.study import Study

WIDTH = 460  # of a film on the page, in pixels


def cards(
    dataset: Dataset,
    references: Sequence[Reference],
    system: System,
    chosen: Sequence[Worst],
    uncertain: Uncertain,
) -> Iterator[str]:
    """One card a study, worst first. A film that cannot be read has a card without picture."""
    for one in chosen:
        reference, prediction = references[one.number], system.predictions[one.number]
        study = next(dataset.studies(one.number))
        said = system.said()[one.number]
        draft = prediction.text or ""
        texts = "".join(
            f'<h4>{title}</h4><p class="text" lang="{language}">{words or "&ndash;"}</p>'
            for title, language, words in (
                (
                    both("Reference", "参考报告"),
                    reference.language,
                    marked(reference.text, reference.language, said, uncertain),
                ),
                (
                    both("Draft", "草稿"),
                    prediction.language or reference.language,
                    marked(
                        draft,
                        prediction.language or reference.language,
                        reference.findings,
                        uncertain,
                    )
                    if draft
                    else "",
                ),
            )
        )
        mistakes = "".join(_mistake(m) for m in one.mistakes)
        wrong = {m.name for m in one.mistakes}
        picture = _picture(study, reference, prediction.findings, wrong)
        yield (
            f'<article class="card">{picture}<div><h3>{escape(reference.study_id)}</h3>'
            f'<ul class="mistakes">{mistakes}</ul>{texts}</div></article>'
        )


def _mistake(m: Mistake) -> str:
    en, zh = term(m.name.value)
    p = "" if m.probability is None else f" (p = {m.probability:.2f})"
    by = both(" in the text alone", "（仅文字）") if m.by_words else ""
    if not m.by_words and m.spoken is not m.answer:
        by = f"{both('; the text says ', '；文字为')}“{say(STATUSES, m.spoken)}”"
    return (
        f"<li><b>{both(en, zh)}</b>{both(': reference ', '：参考')}“{say(STATUSES, m.truth)}”"
        f"{both(', answer ', '，答案')}“{say(STATUSES, m.answer)}”{p}{by}</li>"
    )


def _picture(
    study: Study | HilumError,
    reference: Reference,
    findings: list[Finding],
    wrong: Set[FindingName],
) -> str:
    if isinstance(study, HilumError):
        return f'<p class="note">{both(study.code.en, study.code.zh)}</p>'
    film = Image.fromarray(study.views[0].display())
    columns = film.width
    height = round(film.height * WIDTH / film.width)
    data = io.BytesIO()
    film.resize((WIDTH, height), Image.Resampling.LANCZOS).save(data, "JPEG", quality=82)
    url = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
    original = reference.sizes[0][1] if reference.sizes else columns
    boxes = _boxes(reference.findings, WIDTH / original, "truth", wrong)
    boxes += _boxes(findings, WIDTH / columns, "answer", wrong)
    return (
        f'<svg class="film" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(reference.study_id)}"><image href="{url}" width="{WIDTH}" '
        f'height="{height}"/>{boxes}</svg>'
    )


def _boxes(findings: Sequence[Finding], scale: float, kind: str, wrong: Set[FindingName]) -> str:
    """Boxes of what is wrong stand out from those of what is right."""
    out = []
    for finding in findings:
        name = kind if finding.name in wrong else f"{kind} agreed"
        for instance in finding.instances:
            if finding.status is Status.ABSENT or instance.box is None or instance.box.view:
                continue
            x0, y0, x1, y1 = ((v + 0.5) * scale for v in instance.box.xyxy)
            out.append(
                f'<rect class="{name}" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" '
                f'height="{y1 - y0:.1f}"><title>{escape(FINDINGS[finding.name].en)}</title></rect>'
            )
    return "".join(out)
