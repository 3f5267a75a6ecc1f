"""What the page says, in English and Chinese, and how numbers are written."""

from __future__ import annotations

from html import escape
from typing import Any

from hilum.findings import FINDINGS, FindingName
from hilum.language.template import BONES

Pair = tuple[str, str]

METRICS: dict[str, Pair] = {
    "auc": ("AUC", "AUC"),
    "average_precision": ("AP", "平均精度"),
    "f1": ("F1", "F1"),
    "accuracy": ("accuracy", "准确率"),
    "precision": ("precision", "精确率"),
    "recall": ("sensitivity", "敏感度"),
    "specificity": ("specificity", "特异度"),
    "npv": ("NPV", "阴性预测值"),
    "balanced_accuracy": ("balanced accuracy", "平衡准确率"),
    "ppv_at": ("PPV", "阳性预测值"),
    "npv_at": ("NPV", "阴性预测值"),
    "brier": ("Brier", "Brier 分"),
    "ece": ("ECE", "校准误差"),
    "bleu": ("BLEU-4", "BLEU-4"),
    "chrf": ("chrF", "chrF"),
    "rouge_l": ("ROUGE-L", "ROUGE-L"),
    "exact_sentences": ("exact sentences", "逐字相同的句子"),
    "exact_reports": ("exact reports", "逐字相同的报告"),
    "chexpert_f1_micro14": ("CheXpert-F1 micro 14", "CheXpert-F1 微平均 14"),
    "chexpert_f1_macro14": ("CheXpert-F1 macro 14", "CheXpert-F1 宏平均 14"),
    "chexpert_f1_micro5": ("CheXpert-F1 micro 5", "CheXpert-F1 微平均 5"),
    "chexpert_f1_macro5": ("CheXpert-F1 macro 5", "CheXpert-F1 宏平均 5"),
    "one_point_auc": ("“ROC-AUC” of one point", "单点“ROC-AUC”"),
}
GROUPS: dict[str, Pair] = {
    "bone": ("bone", "骨"),
    "region": ("region", "部位"),
    "stage": ("stage", "新旧"),
    "displacement": ("displacement", "移位"),
    "side": ("side", "侧别"),
    "age": ("age", "年龄"),
    "sex": ("sex", "性别"),
    "view": ("view", "体位"),
}
LEVELS: dict[str, Pair] = {
    **{bone.value: words for bone, words in BONES.items()},
    "anterior": ("anterior", "前段"),
    "lateral": ("lateral", "腋段"),
    "posterior": ("posterior", "后段"),
    "upper": ("upper zone", "上野"),
    "mid": ("mid zone", "中野"),
    "lower": ("lower zone", "下野"),
    "acute": ("acute", "新鲜"),
    "healing": ("healing", "愈合期"),
    "old": ("old", "陈旧"),
    "displaced": ("displaced", "移位"),
    "nondisplaced": ("not displaced", "无移位"),
    "left": ("left", "左侧"),
    "right": ("right", "右侧"),
    "bilateral": ("bilateral", "双侧"),
    "midline": ("midline", "中线"),
    "F": ("female", "女"),
    "M": ("male", "男"),
    "O": ("other", "其他"),
    "unknown": ("not stated", "未说明"),
}
OUTCOMES: dict[str, Pair] = {
    "read": ("read", "已阅片"),
    "abstained": ("abstained", "拒绝阅片"),
    "failed": ("failed", "失败"),
}
STATUSES: dict[str, Pair] = {
    "present": ("present", "有"),
    "absent": ("absent", "无"),
    "uncertain": ("possible", "不确定"),
}
LANGUAGES: dict[str, Pair] = {"en": ("English", "英文"), "zh": ("Chinese", "中文")}
SOURCES: dict[str, Pair] = {
    "truth": ("known truth (phantoms)", "已知真值（体模）"),
    "expert": ("experts", "专家标注"),
    "labeler": ("the labeler's reading of the reference report", "标注器对参考报告的判读"),
}
BASELINES: dict[str, Pair] = {
    "all normal": ("always “normal” (baseline)", "一律“正常”（基线）"),
    "majority": ("majority (baseline)", "多数类（基线）"),
}


def both(en: str, zh: str) -> str:
    """HTML in both languages, of which the page shows one; the words are escaped."""
    if en == zh:
        return escape(en)
    return f'<span class="en">{escape(en)}</span><span class="zh">{escape(zh)}</span>'


def say(words: dict[str, Pair], key: str) -> str:
    """The words of a key; a key without words is shown as it is."""
    return both(*words.get(key, (key, key)))


def term(name: str) -> Pair:
    """A finding's name, with its side where it has one."""
    if name.startswith("fracture_"):
        side = LEVELS[name.removeprefix("fracture_")]
        return f"{side[0]} fracture", f"{side[1]}骨折"
    info = FINDINGS[FindingName(name)]
    return info.en, info.zh


def system_name(system: dict[str, Any]) -> Pair:
    """A system's name; baselines have words of their own."""
    return BASELINES.get(system["name"], (system["name"],) * 2)


def number(value: float, digits: int = 3) -> str:
    """A figure; scores from 0 to 100 have one decimal."""
    return f"{value:.{digits}f}"


def cell(figure: list[float] | None, digits: int = 3) -> str:
    """A table's cell: the value, its interval below."""
    if figure is None:
        return '<td class="n none">&ndash;</td>'
    value, low, high = (number(x, digits) for x in figure)
    return f'<td class="n">{value}<small>{low}&ndash;{high}</small></td>'


def digits_of(metric: str) -> int:
    """Decimals: scores from 0 to 100 have one."""
    return 1 if metric in ("bleu", "chrf", "rouge_l") else 3
