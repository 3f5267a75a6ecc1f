"""How the page looks, and its one button."""

STYLE = """
:root{--ink:#1c2530;--faint:#5c6672;--line:#e3e7ec;--wash:#f6f8fa;--truth:#2dd36f;--answer:#ff9f1a}
*{box-sizing:border-box}
body{font:15px/1.55 system-ui,"Noto Sans CJK SC","PingFang SC","Microsoft YaHei",sans-serif;
max-width:78rem;margin:0 auto;padding:1.6rem 1.4rem 3rem;color:var(--ink);background:#fff}
html[lang=en] .zh,html[lang=zh] .en{display:none}
h1{font-size:1.5rem;margin:0}h2{font-size:1.15rem;margin:2.4rem 0 .6rem;
border-bottom:1px solid var(--line);padding-bottom:.3rem}
h3{font-size:.98rem;margin:.9rem 0 .3rem}h4{font-size:.8rem;margin:.7rem 0 .1rem;color:var(--faint);
font-weight:600}
summary h2{display:inline-block;border:0;margin:1.2rem 0 .2rem}
p.lead{color:var(--faint);margin:.2rem 0 1rem}.note{color:var(--faint);font-size:.82rem;
margin:.5rem 0;max-width:68rem}
#speak{position:absolute;right:1.4rem;top:1.5rem;border:1px solid var(--line);background:#fff;
border-radius:6px;padding:.25rem .8rem;font:inherit;color:inherit;cursor:pointer}
body{position:relative}
.heads{display:flex;flex-wrap:wrap;gap:1rem}
.head{border:1px solid var(--line);border-radius:10px;padding:.7rem 1.1rem;background:var(--wash)}
.head h3{margin:0}.head .note{margin:0 0 .4rem}
.figures{display:flex;gap:1.6rem}.figures div{display:flex;flex-direction:column}
.figures b{font-size:1.6rem;line-height:1.15;font-variant-numeric:tabular-nums}
.figures span{font-size:.82rem}.figures small{color:var(--faint);font-size:.75rem}
.warn{color:#a33a00;font-weight:600;font-size:.85rem;margin:.4rem 0 0}td.warn{color:#a33a00}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.84rem;width:100%;line-height:1.3}
th{font-weight:500;color:var(--faint);text-align:right;vertical-align:bottom;padding:.3rem .5rem;
border-bottom:1px solid #c9d1da;font-size:.78rem}
tr:first-child>th:first-child{text-align:left}
th.group{text-align:center;border-left:1px solid var(--line)}
td{padding:.32rem .5rem;border-bottom:1px solid var(--line);vertical-align:top;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
td small{display:block;color:var(--faint);font-size:.72rem;font-weight:400}
td.name{min-width:9rem}td.indent{padding-left:1.6rem}td.sum{font-weight:600}
td.strong{font-weight:700}td.none{color:#a6afb9}
tr.base td{color:#6b7580;background:var(--wash)}
th[rowspan]{white-space:nowrap}
table.dense{font-size:.78rem}table.dense td,table.dense th{padding:.25rem .32rem}
table.dense td.indent{padding-left:1.3rem}table.dense td small{font-size:.66rem}
.three{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:1.2rem 1.6rem}
figure{margin:0}figcaption{font-size:.85rem;font-weight:600;margin-bottom:.2rem}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:#3c4652}
svg text.faint,svg .faint{fill:#7b8591}svg text.title{font-weight:600;font-size:12px;fill:#1c2530}
.grid{stroke:#edf0f3}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.3rem;font-size:.82rem;margin:.4rem 0 .8rem}
.key{display:inline-flex;align-items:center;gap:.4rem}.key i{width:1.3rem;height:.28rem;
display:inline-block;border-radius:2px}.key i.dash{background:repeating-linear-gradient(90deg,
#8b95a1 0 4px,#fff 4px 8px)}
.key i.box{width:1rem;height:.8rem;border:2px solid;border-radius:0}
i.truth{border-color:var(--truth)!important}i.answer{border-color:var(--answer)!important;
border-style:dashed!important}
.card{display:grid;grid-template-columns:22rem 1fr;gap:1.4rem;padding:1rem 0;
border-bottom:1px solid var(--line)}
.card h3{margin:0}.card svg.film{background:#000;border-radius:4px}
rect.truth,rect.answer{fill:none;stroke-width:2}rect.truth{stroke:var(--truth)}
rect.answer{stroke:var(--answer);stroke-dasharray:5 3}
rect.agreed{opacity:.35;stroke-width:1.2}
p.text{white-space:pre-wrap;margin:0;max-width:46rem}
ul.mistakes{margin:.3rem 0;padding-left:1.1rem;font-size:.88rem}
mark{color:inherit;border-radius:3px;padding:.05em .12em}mark.wrong{background:#ffc9c2}
mark.place{background:#ffe3a6}
pre{font-size:.76rem;background:var(--wash);padding:.7rem .9rem;overflow-x:auto;border-radius:6px;
white-space:pre-wrap;word-break:break-word}code{font-family:ui-monospace,monospace;font-size:.92em}
footer{margin-top:3rem;color:var(--faint);font-size:.8rem;border-top:1px solid var(--line);
padding-top:.7rem}
@media(max-width:56rem){.three{grid-template-columns:1fr}.card{grid-template-columns:1fr}}
@media print{#speak{display:none}}
"""

# The address may end in #zh or #en; else the reader's own language is taken.
SCRIPT = """
var root=document.documentElement;
function speak(l){root.lang=l;try{history.replaceState(null,"","#"+l)}catch(e){}}
var want=location.hash.slice(1)||(navigator.language||"en").slice(0,2);
root.lang=want==="zh"?"zh":"en";
document.getElementById("speak").onclick=function(){speak(root.lang==="zh"?"en":"zh")};
"""
