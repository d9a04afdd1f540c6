"""What the tools say when something is refused, in Chinese and English, with what to do next. Pure."""

from __future__ import annotations

from collections.abc import Mapping

TEXTS: Mapping[str, tuple[str, str]] = {
    "mistyped_code": (
        "认领码输入有误：应为 11 个字符（如 7ZZZZ-ZZZZZ-5），校验不符，请核对标签重新输入",
        "the claim code is mistyped: it has 11 characters (like 7ZZZZ-ZZZZZ-5) and a check character that does not "
        "fit; compare it with the label",
    ),
    "bad_serial": (
        "序列号 {serial!r} 不可用：只能含字母、数字、_ 和 -，最多 32 个字符，且不得与云端进程重名",
        "the serial {serial!r} cannot be used: letters, digits, _ and - only, at most 32, and not a cloud "
        "process's name",
    ),
    "bad_label": (
        "标签内容不是 EGW1:<序列号>:<认领码>:<CA 指纹>，请重新扫描",
        "the label does not read EGW1:<serial>:<code>:<CA fingerprint>; scan it again",
    ),
    "bad_csr": ("证书请求无效：{problem}", "the certificate request is not valid: {problem}"),
    "bad_proof": (
        "签名密钥的证明不成立：请求可能在途中被改动",
        "the proof for the signing key does not hold: the request may have been changed on its way",
    ),
    "wrong_claim": (
        "序列号 {serial} 与认领码不匹配，请核对标签；也可请办公室重新发码",
        "this is not the claim code of {serial}; compare with the label, or ask the office for a new code",
    ),
    "claim_used": (
        "认领码已于 {used_at} 使用过。若不是本网关所为，请立即报告；需要时请办公室为 {serial} 重新发码",
        "the claim code was used at {used_at}. If that was not this gateway, report it now; otherwise ask the office "
        "for a new code for {serial}",
    ),
    "claim_expired": (
        "认领码已于 {expired_at} 失效，请办公室为 {serial} 重新发码",
        "the claim code expired at {expired_at}; ask the office for a new code for {serial}",
    ),
    "too_many_tries": (
        "{serial} 一小时内认领码错误已达 {per_hour} 次，请一小时后再试",
        "{per_hour} wrong codes for {serial} within an hour; try again in an hour",
    ),
    "code_locked": (
        "{serial} 的认领码因多次错误已锁定，请办公室重新发码",
        "the code of {serial} is locked after many wrong tries; ask the office for a new code",
    ),
    "bad_form": (
        "请求中的字段不合规定：{fields}",
        "these fields of the request are not as they must be: {fields}",
    ),
    "too_many_requests": (
        "来自该地址的请求过多，请稍后再试",
        "too many requests from this address; try again later",
    ),
    "stale_nonce": (
        "请求已超过 10 分钟或不是由本服务器发起，请重试",
        "the request is older than ten minutes or was not begun with this server; try again",
    ),
    "not_enrollable": (
        "网关 {serial} 当前状态为 {state}，不能入网",
        "the gateway {serial} is {state} and cannot enrol",
    ),
    "no_such_gateway": ("没有登记过网关 {serial}", "no gateway {serial} is registered"),
    "ca_exists": (
        "{folder} 中已有 CA；覆盖它会使已签发的证书全部作废，请换一个目录",
        "{folder} already holds a CA; overwriting it would orphan every certificate it has issued: choose another folder",
    ),
    "no_ca": (
        "{folder} 中没有可用的 CA（{problem}）；请先运行 shoudian-provision ca init",
        "{folder} holds no usable CA ({problem}); run `shoudian-provision ca init` first",
    ),
    "database_unavailable": ("数据库无法连接：{problem}", "the database cannot be reached: {problem}"),
    "bad_config": ("{variable}：{problem}；允许：{allowed}", "{variable}: {problem}; allowed: {allowed}"),
    "unreachable": (
        "无法连接入网服务器 {url}：{problem}。请检查网线/SIM 卡、DNS 和防火墙",
        "the enrolment server {url} cannot be reached: {problem}. Check cable or SIM, DNS and firewall",
    ),
    "not_https": (
        "{url} 不是 https 地址，认领码不得明文传送",
        "{url} is not https: a claim code never travels in the clear",
    ),
    "wrong_ca": (
        "服务器的 CA 指纹为 {found}，标签上为 {expected}：这不是你要连接的服务器",
        "the server's CA has the fingerprint {found}, the label says {expected}: this is not the server you mean",
    ),
    "clock_wrong": (
        "本机时钟为 {here}，服务器为 {there}，相差 {seconds} 秒，证书会被判无效；请先校时（如 timedatectl / chronyc）",
        "the clock here says {here}, the server's {there}: {seconds} s apart, certificates would not be valid; set "
        "the clock first (timedatectl, chronyc)",
    ),
    "odd_answer": (
        "{url} 的回答不像入网服务器：{problem}",
        "{url} does not answer like an enrolment server: {problem}",
    ),
    "key_exists": (
        "{path} 已存在：该目录属于已入网的网关。重新入网请换一个目录，或先移走旧目录",
        "{path} exists: the folder belongs to an enrolled gateway. Choose another folder, or move the old one away",
    ),
    "key_open": (
        "{path} 可被其他用户读取，不能再作密钥使用；请删除后重新入网",
        "{path} can be read by other users and is no longer a secret; delete it and enrol again",
    ),
    "file_trouble": ("{path}：{problem}", "{path}: {problem}"),
    "kick_failed": (
        "已吊销，但未能断开在线连接：{problem}；其数据从现在起不再被接收",
        "revoked, but its live connection could not be ended: {problem}; its data are refused from now on",
    ),
}


def sentence(key: str, facts: Mapping[str, object]) -> tuple[str, str]:
    """Say one refusal in Chinese and in English; an unknown key is said as it is."""
    known = TEXTS.get(key)
    if known is None:
        told = ", ".join(f"{name}={value}" for name, value in facts.items())
        return f"{key} {told}", f"{key} {told}"
    return known[0].format_map(facts), known[1].format_map(facts)
