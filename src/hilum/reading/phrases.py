"""What a conversation is made of: phrases, plain words for each finding, general advice.

Plain words and advice are general, promise nothing and send the reader to a doctor; they name no
drug and no dose.
"""

from __future__ import annotations

from enum import StrEnum

from hilum.findings import FindingName
from hilum.report import Language

_N = FindingName


class Intent(StrEnum):
    """What a question asks for."""

    WATCH = "watch"
    PLAIN = "plain"
    SURE = "sure"
    SIDES = "sides"
    WHERE = "where"
    WHO = "who"
    THANKS = "thanks"
    SEEN = "seen"


# The first that fits a question counts: English cues, in small letters, and Chinese ones.
CUES: tuple[tuple[Intent, str, str], ...] = (
    (
        Intent.WATCH,
        r"watch (?:out|for)|look out|daily life|at home|avoid|take care|careful|should \w+ do",
        r"注意|日常|平时|生活上|休养|饮食|怎么办|护理",
    ),
    (
        Intent.PLAIN,
        r"plain|simpl|layman|lay words|explain|understand|to \w+ patient|does (?:it|th\w+) mean",
        r"通俗|大白话|解释|听得懂|看不懂|说明一下|什么意思|告诉(?:患者|病人|家属)",
    ),
    (
        Intent.SURE,
        r"how (?:sure|certain|likely|confident)|are you sure|certain|confiden|probab|likelihood",
        r"把握|确定|概率|可能性|可信|置信|几成|多大可能",
    ),
    (
        Intent.SIDES,
        r"compare|(?:left|right) (?:and|or|versus|vs) (?:left|right)|both sides|symmetr",
        r"对比|比较|左右|两侧|双侧|对称",
    ),
    (
        Intent.WHERE,
        r"\bwhere\b|locat|which (?:rib|bone|lobe|zone|side)",
        r"哪里|哪儿|位置|何处|部位|哪个|第几|哪根|在哪|哪一?[侧边]",
    ),
    (Intent.WHO, r"who are you|what are you|your name", r"你是谁|你是什么"),
    (
        Intent.THANKS,
        r"^\W*(?:thanks?|thank you|ok(?:ay)?|bye)\W*$",
        r"^\W*(?:谢谢|多谢|好的|再见)\W*$",
    ),
    (
        Intent.SEEN,
        r"describe|report|summar|you see|what is (?:seen|there)|finding|normal|impression|read \w+",
        r"描述|报告|总结|所见|看到|看见|异常|正常吗|有什么|怎么样|分析|读片|阅片|情况",
    ),
)

# How people name findings in questions, beside the labeler's own terms; small letters.
NAMED: dict[FindingName, str] = {
    _N.FRACTURE: r"fractur|broken|骨折|骨头断|断了",
    _N.PNEUMOTHORAX: r"pneumothora|collapsed lung|气胸",
    _N.PLEURAL_EFFUSION: r"effusion|fluid|积液|胸水",
    _N.CARDIOMEGALY: r"cardiomegal|heart|心影|心脏",
    _N.NODULE: r"nodul|spot|结节",
    _N.MASS: r"\bmass(?:es)?\b|tumou?r|cancer|肿块|肿瘤|癌|占位",
    _N.PNEUMONIA: r"pneumonia|infection|肺炎|感染",
    _N.SUPPORT_DEVICES: r"pacemaker|catheter|起搏器|导管",
}

PHRASES: dict[Language, dict[str, str]] = {
    "en": {
        "no_film": "Send a chest film with your question: I answer only about a film.",
        "not_read": "This film was not read: {reasons}. Nothing is said of it, neither that it is"
        " normal nor that it is not.",
        "cannot": "I cannot answer that. I answer only from the findings of this film: what is"
        " seen, whether something is there, where, on which side, how sure, what it means in plain"
        " words, and what to watch in general.",
        "unknown": "This reader does not judge {term}; it says neither that it is there nor that"
        " it is not.",
        "present": "Yes: {said}{chance}",
        "absent": "{said}{chance}",
        "uncertain": "It is uncertain: {said}{chance}",
        "chance": " The estimated probability is {percent}.",
        "no_probability": "This reader gave no probability for that.",
        "rated": "{term}: {percent} (called present from {threshold}; here: {status}).",
        "is_present": "present",
        "is_absent": "absent",
        "is_uncertain": "uncertain",
        "calibrated": "These are calibrated estimates of this reader, not certainties.",
        "no_place": "The place of the {term} is not known.",
        "sides_are": "Left and right are the patient's.",
        "left": "Left: {terms}.",
        "right": "Right: {terms}.",
        "no_side": "Without a side: {terms}.",
        "nothing_here": "nothing that this reader looks for",
        "nothing_present": "Nothing that this reader looks for was called present.",
        "and": ", ",
        "plain_nothing": "The reader found nothing of what it looks for on this picture. That does"
        " not rule everything out.",
        "plain_end": "This is a draft by a computer; a doctor who knows the patient has the last"
        " word.",
        "watch_nothing": "Nothing was found that calls for special care; the usual care for one's"
        " health holds.",
        "watch_end": "Whoever gets short of breath, has strong or growing chest pain, coughs blood,"
        " has a fever that stays, or feels faint should see a doctor at once. This is general"
        " information; the treating doctor decides.",
        "who": "I answer questions about this film from the findings of Hilum's reader. I am a"
        " research tool, not a doctor.",
        "thanks": "You are welcome.",
        "stop": ".",
    },
    "zh": {
        "no_film": "请随问题附上一张胸片，我只能就胸片作答。",
        "not_read": "此片未阅：{reasons}。未作任何判断，既不表示正常，也不表示异常。",
        "cannot": "这个问题我无法回答。我只能依据此片的征象回答：看到了什么、有没有某种征象、"
        "在哪里、哪一侧、有多大把握、用通俗的话解释，以及一般需要注意什么。",
        "unknown": "该阅片器不判断{term}，既不表示有，也不表示没有。",
        "present": "有：{said}{chance}",
        "absent": "{said}{chance}",
        "uncertain": "不能确定：{said}{chance}",
        "chance": "估计概率为{percent}。",
        "no_probability": "该阅片器对此没有给出概率。",
        "rated": "{term}：{percent}（界值 {threshold}，判为{status}）。",
        "is_present": "有",
        "is_absent": "无",
        "is_uncertain": "不确定",
        "calibrated": "以上为该阅片器经校准的估计，并非确定结论。",
        "no_place": "{term}的位置不明。",
        "sides_are": "左右均指患者的左右。",
        "left": "左侧：{terms}。",
        "right": "右侧：{terms}。",
        "no_side": "未分侧：{terms}。",
        "nothing_here": "未见该阅片器所查的征象",
        "nothing_present": "该阅片器所查的征象均未判为存在。",
        "and": "、",
        "plain_nothing": "在这张片子上，没有发现该阅片器所查的问题。但这并不能排除所有疾病。",
        "plain_end": "以上是计算机起草的内容，请以了解病情的医生的意见为准。",
        "watch_nothing": "没有发现需要特别注意的征象，照常爱护身体即可。",
        "watch_end": "如出现气短、胸痛剧烈或加重、咯血、持续发热或头晕乏力，请立即就医。"
        "以上为一般性说明，具体请遵医嘱。",
        "who": "我依据 Hilum 阅片器对此片的所见回答问题。我是研究工具，不是医生。",
        "thanks": "不客气。",
        "stop": "。",
    },
}

LAY: dict[Language, dict[FindingName, str]] = {
    "en": {
        _N.FRACTURE: "A bone seems to be broken. Broken ribs hurt, above all when breathing in, and"
        " usually heal by themselves within weeks.",
        _N.PNEUMOTHORAX: "Some air seems to lie between the lung and the chest wall, so that the"
        " lung cannot spread fully. A doctor should look at this soon.",
        _N.PLEURAL_EFFUSION: "There seems to be fluid beside the lung. It has many causes, and the"
        " doctor will look for the one behind it.",
        _N.CARDIOMEGALY: "The heart looks larger than usual on this picture. That alone is no"
        " disease; the doctor may want to examine the heart.",
        _N.NODULE: "There is a small round spot in the lung. Most such spots are harmless; a"
        " further picture usually tells more.",
    },
    "zh": {
        _N.FRACTURE: "片子上看起来有骨头断裂。肋骨骨折会疼，吸气时更明显，多数在几周内自行愈合。",
        _N.PNEUMOTHORAX: "肺和胸壁之间似乎有一些气体，使肺不能完全张开，应尽快请医生查看。",
        _N.PLEURAL_EFFUSION: "肺旁边似乎有积水。原因有很多，医生会进一步查找。",
        _N.CARDIOMEGALY: "片子上心脏看起来偏大。这本身不是一种病，医生可能会进一步检查心脏。",
        _N.NODULE: "肺里有一个小圆点。这样的小结节多数是良性的，通常需要复查或进一步检查来明确。",
    },
}

WATCH: dict[Language, dict[FindingName, str]] = {
    "en": {
        _N.FRACTURE: "With a broken rib: rest, no heavy lifting, keep breathing deeply and coughing"
        " gently so that the lungs stay clear.",
        _N.PNEUMOTHORAX: "With air beside the lung: no flying, no diving and no exertion until a"
        " doctor allows it.",
        _N.PLEURAL_EFFUSION: "With fluid beside the lung: watch whether breathing gets harder, and"
        " keep the appointments for control.",
        _N.CARDIOMEGALY: "With a large heart: watch for swollen legs, sudden gain of weight and"
        " shortness of breath when lying flat.",
        _N.NODULE: "With a spot in the lung: keep the date of the next picture, and do not smoke.",
    },
    "zh": {
        _N.FRACTURE: "肋骨骨折时：注意休息，不提重物，坚持缓慢深呼吸和轻轻咳嗽，保持肺部通畅。",
        _N.PNEUMOTHORAX: "有气胸时：在医生允许之前不乘飞机、不潜水、不剧烈活动。",
        _N.PLEURAL_EFFUSION: "有胸腔积液时：留意呼吸是否越来越费力，按时复查。",
        _N.CARDIOMEGALY: "心影增大时：留意腿肿、体重突然增加、平卧时气短。",
        _N.NODULE: "有肺结节时：按时复查，不吸烟。",
    },
}
