"""Every refusal, warning and error, by a stable name, with its sentence in English and Chinese.

A code never changes its meaning once released: scripts and PACS rules match on it.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Stable snake_case name of one refusal, warning or error."""

    # A file that cannot be read: the study fails.
    FILE_NOT_FOUND = "file_not_found"
    FILE_EMPTY = "file_empty"
    FILE_UNREADABLE = "file_unreadable"
    NO_FILES = "no_files"
    FORMAT_UNKNOWN = "format_unknown"
    FILE_DAMAGED = "file_damaged"
    NO_PIXEL_DATA = "no_pixel_data"
    TRANSFER_SYNTAX_UNSUPPORTED = "transfer_syntax_unsupported"
    PIXELS_UNDECODABLE = "pixels_undecodable"
    TOO_MANY_PIXELS = "too_many_pixels"
    ARCHIVE_REFUSED = "archive_refused"
    DECODER_DIED = "decoder_died"
    DECODER_TOO_SLOW = "decoder_too_slow"
    # Files that make no volume of parallel slices.
    NOT_A_VOLUME = "not_a_volume"
    MIXED_SERIES = "mixed_series"
    GEOMETRY_MISSING = "geometry_missing"
    SLICES_DISAGREE = "slices_disagree"
    DUPLICATE_SLICES = "duplicate_slices"
    # A film that is read but not for this reader: the study is abstained.
    MODALITY_UNSUPPORTED = "modality_unsupported"
    SEVERAL_FRAMES = "several_frames"
    NOT_GREYSCALE = "not_greyscale"
    NOT_A_FRONTAL_VIEW = "not_a_frontal_view"
    NOT_A_CHEST = "not_a_chest"
    FOR_PROCESSING = "for_processing"
    TOO_SMALL = "too_small"
    BLANK_FILM = "blank_film"
    SATURATED_FILM = "saturated_film"
    INVERTED_FILM = "inverted_film"
    ROTATED_FILM = "rotated_film"
    NOT_A_FRONTAL_CHEST = "not_a_frontal_chest"
    BELOW_AGE_LIMIT = "below_age_limit"
    OUTSIDE_READER_DOMAIN = "outside_reader_domain"
    SEVERAL_VIEWS_UNSUPPORTED = "several_views_unsupported"
    # A warning about the grey levels: the film is shown all the same.
    WINDOW_INVALID = "window_invalid"
    VOI_LUT_INVALID = "voi_lut_invalid"
    MODALITY_LUT_INVALID = "modality_lut_invalid"
    PHOTOMETRIC_MISSING = "photometric_missing"
    UNUSED_BITS_CLEARED = "unused_bits_cleared"
    PADDING_LEFT_OUT = "padding_left_out"
    # A warning about a volume: it is loaded all the same.
    GANTRY_TILT = "gantry_tilt"
    MISSING_SLICES = "missing_slices"
    # A remark on a draft.
    TEXT_DISAGREES = "text_disagrees"
    TEXT_CUT = "text_cut"
    READ_OUTSIDE_DOMAIN = "read_outside_domain"
    PAEDIATRIC = "paediatric"
    AGE_UNKNOWN = "age_unknown"
    # A model that cannot be had, opened or used.
    PRESET_UNKNOWN = "preset_unknown"
    MODEL_GONE = "model_gone"
    MODEL_INCOMPLETE = "model_incomplete"
    MODEL_INVALID = "model_invalid"
    MODEL_GATED = "model_gated"
    HUB_UNREACHABLE = "hub_unreachable"
    LICENCE_FORBIDS = "licence_forbids"
    REMOTE_CODE_REFUSED = "remote_code_refused"
    PICKLE_REFUSED = "pickle_refused"
    TORCHVISION_BROKEN = "torchvision_broken"
    # A text that says nothing that can be read: no findings, with the reason.
    TEXT_EMPTY = "text_empty"
    TEXT_TOO_LONG = "text_too_long"
    TEXT_UNREADABLE = "text_unreadable"
    LANGUAGE_MISMATCH = "language_mismatch"
    # A study that does not enter a dataset, or a remark on one that does.
    NO_IMAGES = "no_images"
    ROW_INVALID = "row_invalid"
    DUPLICATE_STUDY = "duplicate_study"
    DUPLICATE_IMAGE = "duplicate_image"
    DUPLICATE_TEXT = "duplicate_text"
    NOTHING_LEFT = "nothing_left"
    NOTHING_SAID = "nothing_said"
    LEFT_OUT = "left_out"
    LEANS_ON_PRIOR = "leans_on_prior"
    REDACTED = "redacted"
    CHAT_RESIDUE = "chat_residue"
    CAPTIONS_DIFFER = "captions_differ"
    FINDING_REMOVED = "finding_removed"
    LABELS_DIFFER = "labels_differ"
    TRANSLATION_UNFAITHFUL = "translation_unfaithful"
    PATIENT_UNKNOWN = "patient_unknown"
    # A dataset that cannot be made.
    LAYOUT_UNKNOWN = "layout_unknown"
    SOURCE_INVALID = "source_invalid"
    SOURCE_CHANGED = "source_changed"
    SPLIT_LEAK = "split_leak"
    OUTPUT_EXISTS = "output_exists"
    OUTPUT_BUSY = "output_busy"
    WORKER_LOST = "worker_lost"
    # A server that was asked and did not answer.
    REMOTE_UNREACHABLE = "remote_unreachable"
    REMOTE_INVALID = "remote_invalid"
    REMOTE_REFUSED = "remote_refused"
    # A mistake in how Hilum was called or installed.
    READER_NOT_FOUND = "reader_not_found"
    READER_INVALID = "reader_invalid"
    LANGUAGE_UNSUPPORTED = "language_unsupported"
    EXTRA_MISSING = "extra_missing"
    NO_PROBABILITY = "no_probability"
    OPTION_INVALID = "option_invalid"
    OUTPUT_UNWRITABLE = "output_unwritable"
    INTERNAL_ERROR = "internal_error"
    # Engines.
    MODEL_UNSUPPORTED = "model_unsupported"
    PROMPT_TOO_LONG = "prompt_too_long"
    MEMORY_SHORT = "memory_short"
    EXPORT_FAILED = "export_failed"
    PARITY_FAILED = "parity_failed"
    # An evaluation or a calibration that cannot be made or used.
    DATASET_INVALID = "dataset_invalid"
    PREDICTIONS_INVALID = "predictions_invalid"
    PREDICTION_MISSING = "prediction_missing"
    CALIBRATION_INVALID = "calibration_invalid"
    CALIBRATION_MISMATCH = "calibration_mismatch"
    CALIBRATION_IMPOSSIBLE = "calibration_impossible"
    # What the service answers, and what keeps it from starting.
    STUDY_UNKNOWN = "study_unknown"
    INSTANCE_CONFLICT = "instance_conflict"
    NOT_READ_YET = "not_read_yet"
    QUARANTINED = "quarantined"
    STORAGE_FULL = "storage_full"
    QUEUE_FULL = "queue_full"
    SERVER_BUSY = "server_busy"
    SERVER_DRAINING = "server_draining"
    RATE_LIMITED = "rate_limited"
    KEY_REFUSED = "key_refused"
    SCOPE_MISSING = "scope_missing"
    HOST_REFUSED = "host_refused"
    ORIGIN_REFUSED = "origin_refused"
    BODY_TOO_LARGE = "body_too_large"
    TOO_MANY_PARTS = "too_many_parts"
    REQUEST_TOO_SLOW = "request_too_slow"
    REQUEST_INVALID = "request_invalid"
    MODEL_UNKNOWN = "model_unknown"
    ADDRESS_REFUSED = "address_refused"
    KEYS_NEEDED = "keys_needed"
    ADDRESS_UNAVAILABLE = "address_unavailable"
    DATABASE_VERSION = "database_version"
    DATABASE_UNREACHABLE = "database_unreachable"
    # Training: a recipe, a run or a merge that cannot go on.
    RECIPE_INVALID = "recipe_invalid"
    RECIPE_CHANGED = "recipe_changed"
    NOTHING_TO_LEARN = "nothing_to_learn"
    SAMPLE_TOO_LONG = "sample_too_long"
    IMAGE_TOKENS_CUT = "image_tokens_cut"
    PART_UNKNOWN = "part_unknown"
    PART_DEAD = "part_dead"
    TRAINING_DIVERGED = "training_diverged"
    OUT_OF_MEMORY = "out_of_memory"
    RUN_NOT_FOUND = "run_not_found"
    MERGE_DIFFERS = "merge_differs"
    # reviewing a draft
    REVIEW_CONFLICT = "review_conflict"
    REVIEW_CLOSED = "review_closed"
    NOTHING_TO_REVIEW = "nothing_to_review"

    @property
    def en(self) -> str:
        """The sentence in English."""
        return SENTENCES[self][0]

    @property
    def zh(self) -> str:
        """The sentence in Chinese."""
        return SENTENCES[self][1]

    def sentence(self, language: str) -> str:
        """The sentence in ``language``: "zh" for Chinese, anything else English."""
        return self.zh if language == "zh" else self.en


SENTENCES: dict[Code, tuple[str, str]] = {
    Code.FILE_NOT_FOUND: ("there is no such file or folder", "文件或文件夹不存在"),
    Code.FILE_EMPTY: ("the file is empty", "文件为空"),
    Code.FILE_UNREADABLE: ("the file cannot be opened", "文件无法打开"),
    Code.NO_FILES: ("the folder holds no files", "文件夹内没有文件"),
    Code.FORMAT_UNKNOWN: (
        "neither DICOM, PNG, JPEG nor TIFF",
        "不是 DICOM、PNG、JPEG 或 TIFF 文件",
    ),
    Code.FILE_DAMAGED: ("the file is damaged or cut short", "文件损坏或不完整"),
    Code.NO_PIXEL_DATA: ("a DICOM object without an image", "DICOM 对象中没有图像"),
    Code.TRANSFER_SYNTAX_UNSUPPORTED: (
        "the transfer syntax is not supported",
        "不支持该传输语法",
    ),
    Code.PIXELS_UNDECODABLE: ("the pixels cannot be decoded", "像素数据无法解码"),
    Code.TOO_MANY_PIXELS: ("the image is larger than the limit", "图像超过尺寸上限"),
    Code.ARCHIVE_REFUSED: (
        "the zip archive is damaged, encrypted or beyond the limits",
        "压缩包损坏、加密或超出限制",
    ),
    Code.DECODER_DIED: (
        "the process that decodes died on this file",
        "解码进程在处理该文件时异常退出",
    ),
    Code.DECODER_TOO_SLOW: (
        "decoding took longer than the limit",
        "解码超过时间上限",
    ),
    Code.NOT_A_VOLUME: ("not a volume of slices", "不是由多层图像组成的容积数据"),
    Code.MIXED_SERIES: ("more than one series", "包含多个序列"),
    Code.GEOMETRY_MISSING: (
        "the header does not say where the slice lies",
        "文件头缺少层面的空间位置信息",
    ),
    Code.SLICES_DISAGREE: (
        "a slice differs from the others of its series",
        "同一序列中有层面与其他层面不一致",
    ),
    Code.DUPLICATE_SLICES: ("several slices lie at the same place", "多个层面位置重复"),
    Code.MODALITY_UNSUPPORTED: (
        "not a projection radiograph (CR or DX)",
        "不是 X 线平片（CR 或 DX）",
    ),
    Code.SEVERAL_FRAMES: ("more than one frame in the file", "文件含多帧图像"),
    Code.NOT_GREYSCALE: ("a colour image, not a radiograph", "彩色图像，不是 X 线片"),
    Code.NOT_A_FRONTAL_VIEW: ("not a frontal view", "不是正位片"),
    Code.NOT_A_CHEST: ("not a chest radiograph", "不是胸片"),
    Code.FOR_PROCESSING: (
        "raw detector data (FOR PROCESSING), not a film for reading",
        "原始探测器数据（FOR PROCESSING），不能直接阅片",
    ),
    Code.BLANK_FILM: ("the film is blank", "图像空白"),
    Code.SATURATED_FILM: (
        "over- or underexposed: most of the film is plain black or white",
        "曝光过度或不足：图像大部分为纯黑或纯白",
    ),
    Code.TOO_SMALL: ("the film is too small to be read", "图像过小，无法阅片"),
    Code.INVERTED_FILM: (
        "the film is shown as a negative: bone is dark",
        "图像黑白反转：骨显示为黑色",
    ),
    Code.ROTATED_FILM: (
        "the film lies on its side or upside down",
        "图像被旋转（横置或倒置）",
    ),
    Code.NOT_A_FRONTAL_CHEST: (
        "the picture does not look like a frontal chest film",
        "图像看起来不是胸部正位片",
    ),
    Code.BELOW_AGE_LIMIT: (
        "the patient is younger than this reader's age limit",
        "患者年龄低于该阅片器的年龄下限",
    ),
    Code.OUTSIDE_READER_DOMAIN: (
        "outside the domain this reader was trained on",
        "超出该阅片器的训练范围",
    ),
    Code.SEVERAL_VIEWS_UNSUPPORTED: (
        "this reader reads one view a study",
        "该阅片器每次检查只能读一张片",
    ),
    Code.WINDOW_INVALID: (
        "a VOI window is invalid (PS3.3 C.11.2); another is used, or smallest to largest value",
        "有 VOI 窗位窗宽无效（PS3.3 C.11.2），改用其他窗，或按最小值到最大值显示",
    ),
    Code.VOI_LUT_INVALID: (
        "the VOI LUT is invalid (PS3.3 C.11.2); shown without it",
        "VOI LUT 无效（PS3.3 C.11.2），未使用",
    ),
    Code.MODALITY_LUT_INVALID: (
        "the Modality LUT or rescale is invalid (PS3.3 C.11.1); stored values are used",
        "Modality LUT 或重标定参数无效（PS3.3 C.11.1），按存储值处理",
    ),
    Code.PHOTOMETRIC_MISSING: (
        "PhotometricInterpretation is missing; taken as MONOCHROME2",
        "缺少 PhotometricInterpretation，按 MONOCHROME2 处理",
    ),
    Code.UNUSED_BITS_CLEARED: (
        "bits outside BitsStored held something, an overlay perhaps (PS3.5 8.1.1); cleared",
        "BitsStored 以外的位含有数据（可能是叠加层，PS3.5 8.1.1），已清除",
    ),
    Code.PADDING_LEFT_OUT: (
        "no VOI window; the range shown leaves out PixelPaddingValue (PS3.3 C.7.5.1.1.2)",
        "没有 VOI 窗，显示范围不含 PixelPaddingValue（PS3.3 C.7.5.1.1.2）",
    ),
    Code.GANTRY_TILT: (
        "the slices are tilted against their axis (gantry tilt); they are not straightened",
        "层面相对扫描轴倾斜（机架倾角），未作校正",
    ),
    Code.MISSING_SLICES: (
        "slices are missing or unevenly spaced; none is filled in",
        "层面缺失或层距不均，未作填补",
    ),
    Code.TEXT_DISAGREES: (
        "the text and the probability disagree; review this first",
        "文字与概率不一致，请优先复核",
    ),
    Code.TEXT_CUT: ("the text was cut at the length limit", "文字因长度上限被截断"),
    Code.READ_OUTSIDE_DOMAIN: (
        (
            "NOT VALID: this reader knows only simulated chests; "
            "whatever it says of this film is no finding"
        ),
        "无效：该阅片器只认识模拟胸片，对此片的任何输出都不是诊断所见",
    ),
    Code.PRESET_UNKNOWN: ("there is no such preset", "没有该预设模型"),
    Code.MODEL_GONE: (
        "this model cannot be had any more",
        "该模型已无法获取",
    ),
    Code.MODEL_INCOMPLETE: ("files of the model are missing", "模型文件不完整"),
    Code.MODEL_INVALID: ("the model cannot be opened", "模型无法打开"),
    Code.MODEL_GATED: (
        "the model's owner asks you to accept its terms first",
        "须先在模型页面接受其使用条款",
    ),
    Code.HUB_UNREACHABLE: (
        "the model hub does not answer",
        "无法连接模型仓库",
    ),
    Code.LICENCE_FORBIDS: (
        "the licence does not allow this use",
        "许可证不允许此用途",
    ),
    Code.REMOTE_CODE_REFUSED: (
        "the model brings its own program code, which is not run",
        "模型自带程序代码，默认不予执行",
    ),
    Code.PICKLE_REFUSED: (
        "weights in pickle files can run code; only safetensors are read",
        "pickle 权重可能执行代码，只读取 safetensors",
    ),
    Code.TORCHVISION_BROKEN: (
        "the installed torchvision does not fit torch; none is better than a broken one",
        "已安装的 torchvision 与 torch 不匹配，卸载它即可（没有也能用）",
    ),
    Code.PAEDIATRIC: (
        "the patient is under 18; the reader may not have been made for children",
        "患者未满 18 岁，该阅片器可能不适用于儿童",
    ),
    Code.AGE_UNKNOWN: (
        "the age is unknown, and this reader has an age limit",
        "年龄未知，而该阅片器有年龄下限",
    ),
    Code.TEXT_EMPTY: ("the text is empty", "文本为空"),
    Code.TEXT_TOO_LONG: ("the text is too long to be a report", "文本过长，不是报告"),
    Code.TEXT_UNREADABLE: ("the text is binary or damaged", "文本为二进制数据或已损坏"),
    Code.LANGUAGE_MISMATCH: (
        "the text is not in the language it was said to be in",
        "文本的语言与所指定的不符",
    ),
    Code.NO_IMAGES: ("a study without images", "该检查没有图像"),
    Code.ROW_INVALID: (
        "a record lacks what is needed or holds invalid values",
        "记录缺项或取值无效",
    ),
    Code.DUPLICATE_STUDY: ("a study of this id came before", "检查号重复"),
    Code.DUPLICATE_IMAGE: ("the same image came before", "图像重复"),
    Code.DUPLICATE_TEXT: ("the same text came before", "文本重复"),
    Code.NOTHING_LEFT: ("nothing of the report is left after cleaning", "清洗后报告无剩余内容"),
    Code.NOTHING_SAID: ("no known finding is named in the report", "报告未提及任何已知征象"),
    Code.LEFT_OUT: ("left out by the rule of the task", "按任务规则未选入"),
    Code.LEANS_ON_PRIOR: ("the report compares with earlier films", "报告与既往片对比"),
    Code.REDACTED: ("the report has redacted words", "报告含脱敏遮盖的词"),
    Code.CHAT_RESIDUE: (
        "a language model's words to its user were taken out",
        "已删去语言模型的对话残留",
    ),
    Code.CAPTIONS_DIFFER: (
        "the images of one study have different texts; the first is used",
        "同一检查各图像的文本不同，取第一条",
    ),
    Code.FINDING_REMOVED: (
        "cleaning took the only sentence on a finding; the finding is kept",
        "清洗删去了某征象唯一的句子；征象仍保留",
    ),
    Code.LABELS_DIFFER: (
        "a published label and the labeler disagree",
        "已发布的标签与标注器不一致",
    ),
    Code.TRANSLATION_UNFAITHFUL: (
        "the translation changes the medicine",
        "译文改变了医学内容",
    ),
    Code.PATIENT_UNKNOWN: (
        "the source names no patient; the study stands for one",
        "来源未给出患者，按检查划分",
    ),
    Code.REMOTE_UNREACHABLE: ("the server does not answer", "服务器无响应"),
    Code.REMOTE_INVALID: ("the server's answer cannot be understood", "服务器的回答无法解析"),
    Code.REMOTE_REFUSED: ("the server refuses the request", "服务器拒绝请求"),
    Code.LAYOUT_UNKNOWN: ("no known layout of a data set", "无法识别数据集结构"),
    Code.SOURCE_INVALID: ("the source cannot be read as this layout", "来源不符合该数据集结构"),
    Code.SOURCE_CHANGED: (
        "the source or the settings changed since the run that stopped here",
        "来源或设置与中断前不同",
    ),
    Code.SPLIT_LEAK: ("a patient is in two splits", "同一患者出现在两个划分中"),
    Code.OUTPUT_EXISTS: ("the output folder holds something else", "输出文件夹中已有其他内容"),
    Code.OUTPUT_BUSY: ("another run is writing to this folder", "另一进程正在写入该文件夹"),
    Code.WORKER_LOST: ("a worker stopped; what was done is kept", "工作进程中止，已完成部分保留"),
    Code.READER_NOT_FOUND: ("there is no such reader", "找不到该阅片器"),
    Code.READER_INVALID: (
        "the reader's folder is incomplete or invalid",
        "阅片器文件夹不完整或无效",
    ),
    Code.LANGUAGE_UNSUPPORTED: ("the reader does not write this language", "该阅片器不支持此语言"),
    Code.EXTRA_MISSING: ("an optional part is not installed", "缺少可选组件"),
    Code.NO_PROBABILITY: ("this engine gives no probabilities", "该推理引擎不提供概率"),
    Code.OPTION_INVALID: ("an option has an invalid value", "选项取值无效"),
    Code.OUTPUT_UNWRITABLE: ("the output cannot be written", "无法写入输出"),
    Code.INTERNAL_ERROR: (
        "a defect in Hilum; please report it with the code and the version",
        "Hilum 内部错误，请附代码与版本号反馈",
    ),
    Code.MODEL_UNSUPPORTED: ("this engine cannot run this model", "该推理引擎不支持此模型"),
    Code.PROMPT_TOO_LONG: ("the prompt is too long for the model", "提示词超出模型长度"),
    Code.MEMORY_SHORT: ("not enough memory for this model", "内存不足以加载该模型"),
    Code.EXPORT_FAILED: ("the model could not be exported", "模型导出失败"),
    Code.PARITY_FAILED: (
        "the exported model does not answer as the original",
        "导出模型与原模型的回答不一致",
    ),
    Code.DATASET_INVALID: ("this is no dataset that can be evaluated on", "不是可供评测的数据集"),
    Code.PREDICTIONS_INVALID: ("the predictions cannot be read", "无法读取预测文件"),
    Code.PREDICTION_MISSING: ("there is no prediction for this study", "该检查没有预测结果"),
    Code.CALIBRATION_INVALID: ("this is no calibration file", "不是校准文件"),
    Code.CALIBRATION_MISMATCH: (
        "the calibration was fitted for something else",
        "该校准文件不适用于此阅片器",
    ),
    Code.CALIBRATION_IMPOSSIBLE: ("there is too little to calibrate on", "数据不足，无法校准"),
    Code.STUDY_UNKNOWN: ("there is no such study", "没有该检查"),
    Code.INSTANCE_CONFLICT: (
        "a film of this SOPInstanceUID is kept with other bytes",
        "已存有相同 SOPInstanceUID 而内容不同的影像",
    ),
    Code.NOT_READ_YET: ("the study has not been read yet", "该检查尚未阅片"),
    Code.QUARANTINED: (
        "reading this study stopped its process twice; it is set aside",
        "该检查两次使阅片进程中止，已隔离",
    ),
    Code.STORAGE_FULL: (
        "the server's disk is full; nothing was kept",
        "服务器磁盘已满，未保存任何内容",
    ),
    Code.QUEUE_FULL: (
        "too many studies are waiting; send it again later",
        "等待的检查过多，请稍后重试",
    ),
    Code.SERVER_BUSY: ("the server is busy; send it again later", "服务器繁忙，请稍后重试"),
    Code.SERVER_DRAINING: (
        "the server is shutting down; send it again later",
        "服务器正在关闭，请稍后重试",
    ),
    Code.RATE_LIMITED: ("too many requests; slow down", "请求过于频繁，请放慢"),
    Code.KEY_REFUSED: ("a valid API key is needed", "需要有效的 API 密钥"),
    Code.SCOPE_MISSING: ("the API key does not allow this", "该 API 密钥无此权限"),
    Code.HOST_REFUSED: ("the server does not answer under this name", "服务器不以此主机名提供服务"),
    Code.ORIGIN_REFUSED: (
        "requests from another site's page are refused",
        "拒绝来自其他网站页面的请求",
    ),
    Code.BODY_TOO_LARGE: ("the request is larger than the limit", "请求超过大小上限"),
    Code.TOO_MANY_PARTS: ("the request has too many parts", "请求的部分过多"),
    Code.REQUEST_TOO_SLOW: ("the request took too long to arrive", "请求传输超时"),
    Code.REQUEST_INVALID: ("the request cannot be understood", "请求无法解析"),
    Code.MODEL_UNKNOWN: ("no such model is served here", "此服务没有该模型"),
    Code.ADDRESS_REFUSED: (
        "the image's address is not one this server may open",
        "服务器不得打开该图像地址",
    ),
    Code.KEYS_NEEDED: (
        "no address but this machine's own is served without API keys",
        "没有 API 密钥时只能在本机地址上提供服务",
    ),
    Code.ADDRESS_UNAVAILABLE: ("the address cannot be listened on", "无法监听该地址"),
    Code.DATABASE_VERSION: ("the database is of another version", "数据库版本不符"),
    Code.DATABASE_UNREACHABLE: ("the database does not answer", "数据库无响应"),
    Code.RECIPE_INVALID: ("the recipe is not valid", "训练配方无效"),
    Code.RECIPE_CHANGED: (
        "the folder holds a run of another recipe",
        "该文件夹中的训练来自另一配方",
    ),
    Code.NOTHING_TO_LEARN: ("no study can be learnt from", "没有可供学习的检查"),
    Code.SAMPLE_TOO_LONG: (
        "left out: longer than the limit of tokens",
        "超出长度上限，未选入",
    ),
    Code.IMAGE_TOKENS_CUT: (
        "image tokens would be cut off",
        "图像标记将被截断",
    ),
    Code.PART_UNKNOWN: (
        "a part of the model cannot be trained as the recipe says",
        "模型的某部分无法按配方训练",
    ),
    Code.PART_DEAD: (
        "a part declared trainable does not learn",
        "声明为可训练的部分没有得到训练",
    ),
    Code.TRAINING_DIVERGED: (
        "the loss is no longer a number",
        "损失值不再是有效数字",
    ),
    Code.OUT_OF_MEMORY: ("there is not enough memory", "内存不足"),
    Code.RUN_NOT_FOUND: ("there is no such training run", "找不到该训练"),
    Code.MERGE_DIFFERS: (
        "the merged model is not what was trained",
        "合并后的模型与训练结果不一致",
    ),
    Code.REVIEW_CONFLICT: (
        "somebody else has changed this review meanwhile; look at it again",
        "该报告已被他人修改，请刷新后再处理",
    ),
    Code.REVIEW_CLOSED: (
        "the report is approved or rejected; reopen it first",
        "报告已审核或已退回，请先重新打开",
    ),
    Code.NOTHING_TO_REVIEW: (
        "the study was not read: there is no draft to review",
        "该检查未阅片，没有可审核的草稿",
    ),
}


class HilumError(Exception):
    """One failure: its code, what it concerns, and what to do.

    ``subject`` names the file or study, ``detail`` what was wrong there. Neither ever holds
    patient text: details are made of header keywords, numbers and names of settings.
    """

    def __init__(self, code: Code, subject: object = "", detail: str = "") -> None:
        self.code = code
        self.subject = str(subject)
        self.detail = detail
        super().__init__(self.line("en"))

    def __reduce__(self) -> tuple[type[HilumError], tuple[Code, str, str]]:
        """Rebuild from the parts: worker processes send errors to their parent."""
        return type(self), (self.code, self.subject, self.detail)

    def line(self, language: str = "en") -> str:
        """One line for a person: ``subject: sentence (detail) [code]``."""
        head = f"{self.subject}: " if self.subject else ""
        tail = f" ({self.detail})" if self.detail else ""
        return f"{head}{self.code.sentence(language)}{tail} [{self.code}]"
