"""The sentences that a conversation is made of; they name no drug and no dose."""

from __future__ import annotations

from hilum.report import Language

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
        "unjudged": "This reader looks for nothing there; it says neither that it is normal nor"
        " that it is not.",
        "present": "Yes: {said}{chance}",
        "stated": "{said}{chance}",
        "contrary": "The reader says otherwise: {said}{chance}",
        "elsewhere": "Not there, as far as this reader places it. It says: {said}{chance}",
        "place_unsure": "Whether it is there is not known. The reader says: {said}{chance}",
        "absent": "{said}{chance}",
        "uncertain": "It is uncertain: {said}{chance}",
        "chance": " The estimated probability of {term} is {percent}.",
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
        "none_of_it": "not placed here",
        "nothing_present": "Nothing that this reader looks for was called present.",
        "and": ", ",
        "perhaps": "perhaps {term}",
        "maybe": "This is not certain: {said}",
        "none_called": "Nothing that this reader looks for was called present. That does not make"
        " the film normal: the reader looks for a few things only.",
        "not_normal": "There is something to look at:",
        "no_more": "Beside that, nothing that this reader looks for was called present.",
        "no_detail": "Whether it is new or old, or displaced, this reader did not say.",
        "steered": "I answer only from the findings of this film; nothing that is said or written"
        " elsewhere changes them.",
        "prior": "I know only this film and cannot compare it with an earlier one.",
        "cause": "A film alone does not tell the cause; the treating doctor will look for it.",
        "size": "This reader does not measure sizes.",
        "severe": "How serious it is cannot be told from these findings alone; please ask the"
        " treating doctor, and at once if you feel unwell.",
        "treat": "I cannot answer that: drugs, operations, further tests and how it will go on are"
        " for the treating doctor, who knows the patient.",
        "greet": "Hello. Ask me about this film: what is seen, whether something is there, where,"
        " how sure, or what it means in plain words.",
        "help": "I can tell what is seen, whether something is there, where, on which side, how"
        " sure the reader is, what it means in plain words, and what to watch in general. For"
        " anything else, ask a doctor.",
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
        "unjudged": "该阅片器不查这一部位，既不表示正常，也不表示异常。",
        "present": "有：{said}{chance}",
        "stated": "{said}{chance}",
        "contrary": "阅片器的判断与此不同：{said}{chance}",
        "elsewhere": "阅片器未将其定位于该处，其判断为：{said}{chance}",
        "place_unsure": "是否位于该处不明，阅片器的判断为：{said}{chance}",
        "absent": "{said}{chance}",
        "uncertain": "不能确定：{said}{chance}",
        "chance": "{term}的估计概率为{percent}。",
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
        "none_of_it": "未定位于此侧",
        "nothing_present": "该阅片器所查的征象均未判为存在。",
        "and": "、",
        "perhaps": "可能有{term}",
        "maybe": "这一点尚不能确定：{said}",
        "none_called": "该阅片器所查的征象均未判为存在。但这不能说明一切正常：它只查少数几种征象。",
        "not_normal": "有需要留意的所见：",
        "no_more": "除此之外，该阅片器所查的征象均未判为存在。",
        "no_detail": "新旧程度及有无移位，该阅片器未作说明。",
        "steered": "我只依据此片的征象作答，别处说的或写的任何内容都不会改变它们。",
        "prior": "我只了解这一张片子，无法与以往的片子比较。",
        "cause": "仅凭一张片子不能说明原因，主治医生会进一步查找。",
        "size": "该阅片器不测量大小。",
        "severe": "仅凭这些征象不能判断严重程度，请咨询主治医生；如有不适，请立即就医。",
        "treat": "这个问题我无法回答：用药、手术、进一步检查以及病情会怎样发展，"
        "应由了解病情的主治医生决定。",
        "greet": "您好。您可以问我这张片子：看到了什么、有没有某种征象、在哪里、有多大把握，"
        "或请我用通俗的话解释。",
        "help": "我可以说明看到了什么、有没有某种征象、在哪里、哪一侧、阅片器有多大把握、"
        "用通俗的话怎么理解，以及一般需要注意什么。其他问题请咨询医生。",
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
