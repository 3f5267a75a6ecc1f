"""Plain words for each finding, and general advice, for patients and their families.

They are general, promise nothing, name no drug and no dose, and send to a doctor.
"""

from __future__ import annotations

from hilum.findings import FindingName
from hilum.report import Language

_N = FindingName

LAY: dict[Language, dict[FindingName, str]] = {
    "en": {
        _N.ENLARGED_CARDIOMEDIASTINUM: "The middle of the chest, where heart and large vessels lie,"
        " looks wider than usual. The way the picture was taken can do that too; a doctor will"
        " look again.",
        _N.CARDIOMEGALY: "The heart looks larger than usual on this picture. That alone is no"
        " disease; the doctor may want to examine the heart.",
        _N.LUNG_LESION: "There is a spot in the lung that does not belong there. Many such spots"
        " are harmless; a doctor will want to know more about it.",
        _N.LUNG_OPACITY: "A part of the lung looks whiter than it should. It has many causes, and"
        " the doctor will look for the one behind it.",
        _N.EDEMA: "There seems to be too much water in the lungs, which makes breathing harder. A"
        " doctor should look at this soon.",
        _N.CONSOLIDATION: "A part of the lung seems to be filled with something other than air, as"
        " an infection can do. A doctor will find out what it is.",
        _N.PNEUMONIA: "The lung may be inflamed. A doctor will compare this with how the patient"
        " feels and with other tests.",
        _N.ATELECTASIS: "A part of the lung is not fully spread, like a balloon that has lost some"
        " air. That is common, and often passes.",
        _N.PNEUMOTHORAX: "Some air seems to lie between the lung and the chest wall, so that the"
        " lung cannot spread fully. A doctor should look at this soon.",
        _N.PLEURAL_EFFUSION: "There seems to be fluid beside the lung. It has many causes, and the"
        " doctor will look for the one behind it.",
        _N.PLEURAL_OTHER: "The thin skin around the lung looks changed. That is often the trace of"
        " something long past; a doctor will say.",
        _N.FRACTURE: "A bone seems to be broken. A broken bone in the chest hurts, above all when"
        " breathing in; most heal by themselves within weeks, and a doctor will say for this one.",
        _N.SUPPORT_DEVICES: "A device is seen in or on the chest, such as a tube, a wire or a"
        " pacemaker. A doctor will say whether it lies as it should.",
        _N.NODULE: "There is a small round spot in the lung. Most such spots are harmless; a"
        " further picture usually tells more.",
        _N.MASS: "There is a larger spot in the lung. One picture cannot tell what it is; a doctor"
        " should look at this soon.",
        _N.GRANULOMA: "There is a small scar-like knot in the lung. It is usually the trace of an"
        " old inflammation, and harmless.",
        _N.INFILTRATION: "A part of the lung looks hazy. Often it is an inflammation; a doctor will"
        " find out.",
        _N.EMPHYSEMA: "The lungs seem to hold more air than they should, because fine walls in them"
        " are worn. A doctor will want to test the breathing.",
        _N.FIBROSIS: "There seem to be scars in the lung, which make it stiffer. A doctor will want"
        " to know where they come from.",
        _N.PLEURAL_THICKENING: "The thin skin around the lung is thicker in places. That is often"
        " the trace of something long past.",
        _N.HERNIA: "A part of the stomach or bowel seems to lie in the chest, through a gap in the"
        " midriff. That is common, and often harmless.",
    },
    "zh": {
        _N.ENLARGED_CARDIOMEDIASTINUM: "胸部正中（心脏和大血管所在处）看起来比平常宽。"
        "拍片的姿势也可能造成这种情况，医生会再看。",
        _N.CARDIOMEGALY: "片子上心脏看起来偏大。这本身不是一种病，医生可能会进一步检查心脏。",
        _N.LUNG_LESION: "肺里有一处不寻常的影子。这样的影子很多是良性的，医生会进一步了解。",
        _N.LUNG_OPACITY: "肺的一部分看起来比正常要白。原因有很多，医生会进一步查找。",
        _N.EDEMA: "肺里的水分似乎过多，会使呼吸费力，应尽快请医生查看。",
        _N.CONSOLIDATION: "肺的一部分里似乎不是空气而是别的东西，感染时就会这样。医生会查明。",
        _N.PNEUMONIA: "肺可能有炎症。医生会结合症状和其他检查来判断。",
        _N.ATELECTASIS: "肺的一部分没有完全张开，像气球漏了一点气。这比较常见，往往会恢复。",
        _N.PNEUMOTHORAX: "肺和胸壁之间似乎有一些气体，使肺不能完全张开，应尽快请医生查看。",
        _N.PLEURAL_EFFUSION: "肺旁边似乎有积水。原因有很多，医生会进一步查找。",
        _N.PLEURAL_OTHER: "包着肺的那层薄膜看起来有些改变，常是以往疾病的痕迹，请听医生的意见。",
        _N.FRACTURE: "片子上看起来有骨头断裂。胸部骨折会疼，吸气时更明显，多数在几周内自行愈合，"
        "具体情况请听医生的意见。",
        _N.SUPPORT_DEVICES: "片子上能看到体内或体表的装置，比如管子、导线或起搏器。"
        "位置是否合适，请听医生的意见。",
        _N.NODULE: "肺里有一个小圆点。这样的小结节多数是良性的，通常需要再拍片或进一步检查来明确。",
        _N.MASS: "肺里有一个较大的影子。一张片子不能说明它是什么，应尽快请医生查看。",
        _N.GRANULOMA: "肺里有一个像小疤一样的结，通常是以前炎症留下的痕迹，多无妨碍。",
        _N.INFILTRATION: "肺的一部分看起来有些模糊，常见于炎症，医生会查明。",
        _N.EMPHYSEMA: "肺里的气似乎比正常多，是因为肺内细小的隔壁磨损了，医生可能会检查肺功能。",
        _N.FIBROSIS: "肺里似乎有疤痕，会使肺变硬一些，医生会查找它的来由。",
        _N.PLEURAL_THICKENING: "包着肺的那层薄膜有些地方变厚了，常是以往疾病留下的痕迹。",
        _N.HERNIA: "胃或肠的一部分似乎经过膈肌的空隙到了胸腔里。这比较常见，多无妨碍。",
    },
}

_SPOT_EN = "With a spot in the lung: keep the date of the next picture, and do not smoke."
_SPOT_ZH = "肺里有结节或影子时：按时复查，不吸烟。"
_LUNG_EN = (
    "With a change in the lung: rest, drink enough, do not smoke, and watch for fever and for"
    " breathing that gets harder."
)
_LUNG_ZH = "肺部有改变时：注意休息，适量饮水，不吸烟，留意发热和呼吸是否费力。"
_WORN_EN = (
    "With lungs that are worn or scarred: do not smoke, keep away from dust and smoke, and move as"
    " much as breathing allows."
)
_WORN_ZH = "肺有磨损或疤痕时：不吸烟，远离粉尘和烟雾，在呼吸允许的范围内适当活动。"
_SKIN_EN = (
    "With a change around the lung: watch for pain when breathing, and for getting out of breath."
)
_SKIN_ZH = "肺周围的薄膜有改变时：留意呼吸时是否疼痛、是否气短。"
_HEART_EN = (
    "With a large heart: watch for swollen legs, sudden gain of weight and shortness of breath when"
    " lying flat."
)
_HEART_ZH = "心影增大时：留意腿肿、体重突然增加、平卧时气短。"

WATCH: dict[Language, dict[FindingName, str]] = {
    "en": {
        _N.ENLARGED_CARDIOMEDIASTINUM: "With a wide middle of the chest: watch for pain in chest or"
        " back, and for trouble swallowing or breathing.",
        _N.CARDIOMEGALY: _HEART_EN,
        _N.LUNG_LESION: _SPOT_EN,
        _N.LUNG_OPACITY: _LUNG_EN,
        _N.EDEMA: "With water in the lungs: sit up to breathe, and have it looked at soon.",
        _N.CONSOLIDATION: _LUNG_EN,
        _N.PNEUMONIA: _LUNG_EN,
        _N.ATELECTASIS: "With a lung that is not fully spread: breathe deeply several times a day,"
        " cough gently, and get up and move where that is allowed.",
        _N.PNEUMOTHORAX: "With air beside the lung: no flying, no diving and no exertion until a"
        " doctor allows it.",
        _N.PLEURAL_EFFUSION: "With fluid beside the lung: watch whether breathing gets harder, and"
        " keep the appointments for control.",
        _N.PLEURAL_OTHER: _SKIN_EN,
        _N.FRACTURE: "With a broken bone in the chest: rest, no heavy lifting, keep breathing"
        " deeply and coughing gently so that the lungs stay clear.",
        _N.SUPPORT_DEVICES: "With a device: do not pull at it, keep its exit dry and clean, and"
        " tell every doctor of it.",
        _N.NODULE: _SPOT_EN,
        _N.MASS: _SPOT_EN,
        _N.GRANULOMA: _SPOT_EN,
        _N.INFILTRATION: _LUNG_EN,
        _N.EMPHYSEMA: _WORN_EN,
        _N.FIBROSIS: _WORN_EN,
        _N.PLEURAL_THICKENING: _SKIN_EN,
        _N.HERNIA: "With a hernia: eat small meals, and do not lie down right after them.",
    },
    "zh": {
        _N.ENLARGED_CARDIOMEDIASTINUM: "胸部正中增宽时：留意胸背疼痛、吞咽或呼吸困难。",
        _N.CARDIOMEGALY: _HEART_ZH,
        _N.LUNG_LESION: _SPOT_ZH,
        _N.LUNG_OPACITY: _LUNG_ZH,
        _N.EDEMA: "肺里水分多时：坐起来呼吸，尽快就医。",
        _N.CONSOLIDATION: _LUNG_ZH,
        _N.PNEUMONIA: _LUNG_ZH,
        _N.ATELECTASIS: "肺没有完全张开时：每天多次深呼吸，轻轻咳嗽，在允许的情况下起身活动。",
        _N.PNEUMOTHORAX: "有气胸时：在医生允许之前不乘飞机、不潜水、不剧烈活动。",
        _N.PLEURAL_EFFUSION: "有胸腔积液时：留意呼吸是否越来越费力，按时复查。",
        _N.PLEURAL_OTHER: _SKIN_ZH,
        _N.FRACTURE: "胸部骨折时：注意休息，不提重物，坚持缓慢深呼吸和轻轻咳嗽，保持肺部通畅。",
        _N.SUPPORT_DEVICES: "体内有装置时：不要牵拉，保持出口处清洁干燥，就诊时告诉每一位医生。",
        _N.NODULE: _SPOT_ZH,
        _N.MASS: _SPOT_ZH,
        _N.GRANULOMA: _SPOT_ZH,
        _N.INFILTRATION: _LUNG_ZH,
        _N.EMPHYSEMA: _WORN_ZH,
        _N.FIBROSIS: _WORN_ZH,
        _N.PLEURAL_THICKENING: _SKIN_ZH,
        _N.HERNIA: "有疝时：少量多餐，饭后不要马上平躺。",
    },
}
