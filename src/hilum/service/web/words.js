// The page's own words: [English, Chinese]. Findings, places and codes come from the server.

import { setting } from "./state.js";

const WORDS = {
  skip: ["Skip to the study", "跳到检查"],
  to_list: ["Hilum: back to the worklist", "Hilum：返回列表"],
  upload: ["Add films", "添加影像"],
  other_language: ["中文", "English"],
  other_language_label: ["中文 (switch to Chinese)", "English（切换到英文）"],
  theme_dark: ["Light", "亮色"], theme_light: ["Dark", "暗色"],
  keys: ["Keys and help", "按键与帮助"],
  worklist: ["Worklist", "检查列表"],
  filters: ["Show only", "筛选"],
  empty: ["Nothing here. Drop films anywhere on this page, or press u.", "这里没有检查。把影像拖到页面任意处，或按 u 键。"],
  empty_filter: ["No study is like this.", "没有符合条件的检查。"],
  hint: ["Drop films anywhere on this page to have them read.", "把影像拖到页面任意处即可阅片。"],
  more: ["Show more", "显示更多"],
  viewer: ["Film", "影像"],
  draft: ["Report", "报告"],
  chat: ["Conversation about this study", "关于本检查的对话"],
  chat_title: ["Conversation", "对话"],
  drop: ["Drop films to have them read", "松开即上传影像"],
  // worklist
  f_all: ["All", "全部"], f_preliminary: ["To review", "待审核"], f_fracture: ["Fracture", "骨折"],
  f_disagree: ["Check first", "优先复核"], f_abstained: ["Not read", "未阅片"], f_problem: ["Failed", "失败"],
  f_approved: ["Approved", "已审核"], f_rejected: ["Rejected", "已退回"],
  queued: ["waiting", "等待中"], running: ["being read", "阅片中"], done: ["read", "已阅片"],
  failed: ["failed", "失败"], quarantined: ["set aside", "已隔离"],
  routine: ["routine", "常规"], urgent: ["urgent", "紧急"], stat: ["stat", "危急"],
  preliminary: ["preliminary", "初步"], approved: ["approved", "已审核"], rejected: ["rejected", "已退回"],
  fracture_p: ["Fracture {p}", "骨折 {p}"], no_p: ["no probability", "无概率"], not_read: ["not read", "未阅片"],
  check_first: ["check first", "优先复核"], jobs_none: ["Nothing is waiting.", "没有等待的检查。"],
  jobs_some: ["{queued} waiting, {running} being read", "{queued} 个等待，{running} 个阅片中"],
  age: ["{n} y", "{n} 岁"], F: ["female", "女"], M: ["male", "男"], O: ["other", "其他"],
  trauma: ["trauma", "外伤"], chest_pain: ["chest pain", "胸痛"], cough: ["cough", "咳嗽"], dyspnoea: ["dyspnoea", "呼吸困难"],
  fever: ["fever", "发热"], screening: ["screening", "体检"], preoperative: ["preoperative", "术前"],
  follow_up: ["follow-up", "随访"], device_position: ["device position", "装置位置"], other: ["other", "其他"],
  ago_now: ["just now", "刚刚"], ago_min: ["{n} min ago", "{n} 分钟前"], ago_h: ["{n} h ago", "{n} 小时前"], ago_d: ["{n} d ago", "{n} 天前"],
  // upload
  send_title: ["Add films", "添加影像"], send: ["Send", "发送"], cancel: ["Cancel", "取消"], close: ["Close", "关闭"],
  chosen: ["Files chosen: {n}. DICOM, PNG, JPEG, TIFF or zip.", "已选 {n} 个文件。支持 DICOM、PNG、JPEG、TIFF 或 zip。"],
  priority: ["Priority", "优先级"], together: ["All files are views of one study", "所有文件属于同一检查"],
  age_label: ["Age (years)", "年龄（岁）"], sex_label: ["Sex", "性别"], indication: ["Indication", "检查原因"], prior_label: ["Earlier study", "既往检查"], unknown: ["not given", "未提供"],
  sending: ["Sending ({n}): {p} %", "正在发送（{n} 个文件）：{p} %"], sent: ["Studies taken: {n}. Files refused: {k}.", "已接收 {n} 个检查，{k} 个文件被拒。"],
  refused_file: ["File {n}: {why}", "第 {n} 个文件：{why}"],
  // viewer
  preset: ["Window", "窗"], p_film: ["as stored {n}", "原始窗 {n}"], p_full: ["full range", "全范围"], p_bone: ["bone", "骨"], p_lung: ["lung", "肺"], p_soft: ["soft tissue", "软组织"], p_own: ["own", "自定"],
  t_window: ["Window", "调窗"], t_pan: ["Pan", "平移"], t_measure: ["Measure", "测量"], tool: ["Left button", "左键"],
  invert: ["Invert", "反相"], rotate: ["Rotate", "旋转"], boxes: ["Boxes", "标注框"], fit: ["Fit", "适合"], zoom_in: ["Zoom in", "放大"], zoom_out: ["Zoom out", "缩小"],
  prior: ["Prior", "既往片"], no_prior: ["Compare with", "对比检查"], prior_of: ["Prior, {when}", "既往片，{when}"], current: ["Current", "当前"], clear: ["Clear lines", "清除测量"],
  view: ["View {n}", "体位 {n}"], loading: ["Loading the film …", "正在载入影像…"], film_label: ["Film {what}. Arrow keys move it, Shift and arrow keys change the window, + and - zoom.", "影像 {what}。方向键移动，Shift 加方向键调窗，+ 和 - 缩放。"],
  no_scale: ["px: this film tells no scale", "px：该片没有尺度信息"], scale: ["mm in the detector's plane", "探测器平面的 mm"], cw: ["C {c} W {w}", "窗位 {c} 窗宽 {w}"],
  no_film: ["The film cannot be shown: {why}", "无法显示影像：{why}"], none: ["none", "无"],
  // draft
  s_preliminary: ["Preliminary: no radiologist has approved this", "初步报告：尚未经医师审核"], s_approved: ["Approved by {who}, {when}", "{who} 已审核，{when}"], s_rejected: ["Rejected by {who}, {when}: {why}", "{who} 已退回，{when}：{why}"],
  who_local: ["someone at this machine", "本机用户"], reading: ["Being read: {s} s", "阅片中：{s} 秒"], waiting: ["Waiting to be read: {s} s", "等待阅片：{s} 秒"],
  unread_title: ["Not read", "未阅片"], unread: ["This says nothing about the film: neither that it is normal nor that it is not.", "未对此片作任何判断，既不表示正常，也不表示异常。"],
  failed_title: ["Could not be read", "无法阅片"], again: ["Read again", "重新阅片"], in_language: ["Draft in English too", "再写一份中文草稿"], other_text: ["The draft is in Chinese; there is none in English yet.", "草稿为英文，还没有中文草稿。"],
  elsewhere: ["That is the text in {l}; this draft in the other language was not reviewed.", "以上针对{l}文本；当前显示的另一语言草稿未经审核。"], show_in: ["Show the draft in English", "显示中文草稿"], show_reviewed: ["Show the text that was reviewed", "显示已审核的文本"], l_en: ["English", "英文"], l_zh: ["Chinese", "中文"],
  check: ["Check first: words and probability disagree", "优先复核：文字与概率不一致"], d_said: ["{f}: the text says {said}, the probability {p} says {status}", "{f}：文字为{said}，概率 {p} 为{status}"], d_silent: ["{f}: the text is silent, the probability {p} says {status}", "{f}：文字未提及，概率 {p} 为{status}"],
  text: ["Draft", "草稿"], text_edited: ["Text, edited", "文本（已改写）"], findings: ["Findings and probabilities", "征象与概率"], present: ["present", "有"], absent: ["absent", "无"], uncertain: ["uncertain", "不确定"],
  tick: ["Tick: threshold. Lighter tick: from there on uncertain. Number at a box: that the finding is at that place.", "竖线：判定界值；浅色竖线：由此起为不确定。框旁数字：该处确有此征象的概率。"], threshold: ["threshold {p}", "界值 {p}"], probability: ["probability", "概率"],
  about: ["Where this draft comes from", "草稿来源"], a_reader: ["Reader", "阅片器"], a_weights: ["Weights", "权重"], a_licence: ["Licence", "许可证"], a_calibration: ["Calibration", "校准"], packaged: ["packaged with the reader", "阅片器自带"], site: ["site {s}", "站点 {s}"], a_thresholds: ["Thresholds", "界值"], a_versions: ["Versions", "版本"],
  edit: ["Edit", "编辑"], save: ["Save", "保存"], approve: ["Approve", "审核通过"], reject: ["Reject", "退回"], reopen: ["Reopen", "重新打开"], copy: ["Copy", "复制"], print: ["Print", "打印"], copied: ["Copied.", "已复制。"], saved: ["Saved.", "已保存。"], edit_label: ["Text of the report", "报告文本"],
  approve_title: ["Approve this report?", "审核通过该报告？"], approve_hint: ["You confirm that you have looked at the film and that this text is right.", "请确认您已阅片，且以下文本正确。"],
  reject_title: ["Reject this draft?", "退回该草稿？"], reason: ["Reason", "原因"], finding_missed: ["a finding was missed", "漏诊征象"], finding_false: ["a finding is not there", "误报征象"], place_wrong: ["the place is wrong", "部位有误"], wording: ["the wording", "措辞"], film_unsuitable: ["the film is unsuitable", "影像不合格"],
  history: ["What was done", "处理记录"], h_draft: ["draft by {reader}", "{reader} 的草稿"], h_edit: ["edited by {who}", "{who} 编辑"], h_approve: ["approved by {who}", "{who} 审核通过"], h_reject: ["rejected by {who}: {why}", "{who} 退回：{why}"], h_reopen: ["reopened by {who}", "{who} 重新打开"], no_text: ["Nothing is written.", "没有文本。"],
  discard: ["Leave without saving what you wrote?", "尚未保存，确定离开吗？"],
  // chat
  ask: ["Ask about this study", "询问本检查"], send_q: ["Ask", "发送"], stop: ["Stop", "停止"], retry: ["Again", "重试"], fresh: ["New", "新对话"], you: ["You", "您"], answer_in: ["Answer in", "回答语言"], as_asked: ["as asked", "随提问"], stopped: ["stopped", "已停止"], broken: ["cut off by an error", "因错误中断"], chat_open: ["Show the conversation", "展开对话"], chat_close: ["Hide the conversation", "收起对话"],
  wrong_words: ["These words disagree with the probability of: {f}", "以上文字与以下征象的概率不一致：{f}"], by_rules: ["Answered by rule from the findings; it says so when it cannot.", "按规则根据征象回答；不能回答时会说明。"], by_model: ["A model writes these answers. Check them against the film.", "回答由模型生成，请对照影像核实。"], chat_wait: ["There is nothing to ask about until the study is read.", "阅片完成后方可提问。"],
  q1: ["What is seen?", "看到了什么？"], q2: ["Is there a fracture?", "有骨折吗？"], q3: ["Where?", "在哪里？"], q4: ["How sure are you?", "有多大把握？"], q5: ["Compare left and right", "左右对比一下"], q6: ["Explain it to the patient", "用通俗的话解释给患者"], q7: ["What to watch in daily life?", "日常生活要注意什么？"],
  // keys and errors
  unreachable: ["the server does not answer", "服务器无响应"], key_title: ["An API key is needed", "需要 API 密钥"], key_hint: ["It stays in this tab and goes when the tab is closed. `hilum keys add` makes one.", "密钥只保存在此标签页，关闭即清除。用 `hilum keys add` 创建。"], key_label: ["API key", "API 密钥"], key_wrong: ["That key is not accepted.", "该密钥无效。"], enter: ["Enter", "进入"],
  single: ["Single keys (letters work alone)", "单键快捷键（直接按字母）"], dismiss: ["Dismiss", "关闭提示"],
};

export const language = () => setting("language");
const column = () => (language() === "zh" ? 1 : 0);

/** The sentence of a name, with {names} filled in. */
export function t(name, values = {}) {
  const sentence = WORDS[name]?.[column()] ?? name;
  return sentence.replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}
export const pick = (pair) => pair[column()];

/** Put words into everything that names them: data-t, data-t-label. */
export function translate(root = document) {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.setAttribute("aria-label", t(element.dataset.tLabel));
}

/** For a person: whole numbers, and never a certain 0 or 100 %. */
export function percent(p) {
  if (p === null || p === undefined) return "–";
  return p < 0.01 ? "<1 %" : p > 0.99 ? ">99 %" : `${Math.round(p * 100)} %`;
}

export function when(seconds) {
  return new Date(seconds * 1000).toLocaleString(language() === "zh" ? "zh-CN" : "en-GB", { dateStyle: "medium", timeStyle: "short" });
}

export function ago(seconds) {
  const minutes = Math.floor((Date.now() / 1000 - seconds) / 60);
  if (minutes < 1) return t("ago_now");
  if (minutes < 60) return t("ago_min", { n: minutes });
  return minutes < 1440 ? t("ago_h", { n: Math.floor(minutes / 60) }) : t("ago_d", { n: Math.floor(minutes / 1440) });
}
