"""The words of a printed bill, Chinese and English, and how it writes numbers. Pure."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum

from cloud.money import rounded, yuan


class Language(StrEnum):
    """Languages a bill can be printed in."""

    ZH = "zh"
    EN = "en"


WORDS: dict[str, tuple[str, str]] = {
    "title": ("电费账单", "Electricity bill"),
    "mark_draft": ("草稿 · 未出账", "Draft · not issued"),
    "mark_held": ("审核中 · 未出账", "Held in review · not issued"),
    "mark_superseded": ("已被更正账单取代", "Replaced by a correction"),
    "mark_void": ("已作废", "Void"),
    "revision": ("更正账单 第 {n} 版", "Correction, revision {n}"),
    "amount_due": ("应缴金额", "Amount due"),
    "amount_to_refund": ("应退金额", "Amount to be refunded"),
    "amount_in_words": ("大写金额", "In words"),
    "yuan_unit": ("元", "CNY"),
    # sections of the page
    "overview": ("概况", "Overview"),
    "energy_table": ("电量明细", "Energy"),
    "registers": ("示数", "Meter registers"),
    "charges": ("电费明细", "Charges"),
    "basic_table": ("输配容(需)量电费", "Capacity and demand"),
    "power_factor_table": ("功率因数调整", "Power factor adjustment"),
    "checks": ("校验", "Checks"),
    "basis": ("计费依据", "Basis"),
    "how": ("怎么算的", "How each charge was computed"),
    "formula": ("公式与数值", "Formula and numbers"),
    "open": ("待确认", "Provisional"),
    "remarks": ("说明", "Remarks"),
    "by_period": ("分时电量", "Energy by period"),
    "by_day": ("每日电量", "Energy by day"),
    "by_month": ("近一年电量", "Energy of the year"),
    "of_which": ("其中", "of which"),
    "tax_table": ("增值税", "VAT"),
    "pay": ("交费方式", "How to pay"),
    "correction": ("更正说明", "Correction"),
    # overview
    "account_id": ("户号", "Account no."),
    "name": ("户名", "Customer"),
    "address": ("用电地址", "Address"),
    "month": ("账单周期", "Billing period"),
    "category": ("用电类别", "Category"),
    "purchase": ("购电方式", "Purchase"),
    "structure": ("电价结构", "Tariff structure"),
    "voltage": ("电压等级", "Voltage"),
    "demand_mode": ("基本电费方式", "Basic charge by"),
    "capacity": ("合同容量", "Contract capacity"),
    "contract_demand": ("合同最大需量", "Contracted demand"),
    "supplier": ("供电单位", "Grid company"),
    "printed_on": ("打印日期", "Printed on"),
    "due_on": ("交费截止", "Due by"),
    "arrears": ("往期欠费(元)", "Owed of earlier months (CNY)"),
    "last_month_amount": ("上期电费(元)", "Last month (CNY)"),
    "last_month_change": ("电费环比", "Amount against last month"),
    "last_month_energy_change": ("电量环比", "Energy against last month"),
    "last_year_amount": ("上年同期电费(元)", "Same month last year (CNY)"),
    "last_year_change": ("电费同比", "Amount against last year"),
    "last_year_energy_change": ("电量同比", "Energy against last year"),
    "corrected_revision": ("原账单版次", "Revision before"),
    "corrected_total": ("原电费(元)", "Amount before (CNY)"),
    "corrected_now": ("更正后(元)", "Amount now (CNY)"),
    "corrected_change": ("应补(+)应退(−)(元)", "Owed more (+) or less (−) (CNY)"),
    "vat_rate": ("税率", "Rate"),
    "vat_net": ("不含税金额(元)", "Net (CNY)"),
    "vat_amount": ("其中税额(元)", "VAT included (CNY)"),
    "vat_invoice": ("增值税发票金额(元)", "Invoice amount (CNY)"),
    "vat_document": ("依据", "By"),
    "energy": ("本期电量", "Energy"),
    "average_price": ("平均电价", "Average price"),
    "peak_share": ("尖峰及高峰电量占比", "Tip and peak share"),
    "valley_share": ("低谷及深谷电量占比", "Valley and deep share"),
    "power_factor": ("功率因数", "Power factor"),
    "estimated": ("估算时段", "Estimated quarter-hours"),
    # columns
    "meter": ("电能表编号", "Meter"),
    "supply_point": ("计量点", "Supply point"),
    "register": ("示数类型", "Register"),
    "start": ("上期示数", "Previous"),
    "end": ("本期示数", "Current"),
    "multiplier": ("倍率", "Multiplier"),
    "measured": ("抄见量", "Measured"),
    "item": ("费用组成", "Charge"),
    "period": ("时段", "Period"),
    "quantity": ("计费量", "Quantity"),
    "price": ("计费标准", "Price"),
    "amount": ("电费(元)", "Amount (CNY)"),
    "share": ("占比", "Share"),
    "subtotal": ("小计", "Subtotal"),
    "total": ("合计", "Total"),
    "maximum_demand": ("最大需量", "Maximum demand"),
    "maximum_demand_at": ("出现时间", "Reached at"),
    "kwh_per_kva": ("月每千伏安用电量", "kWh per kVA and month"),
    "standard": ("考核标准", "Standard"),
    "actual": ("实际值", "Actual"),
    "percent": ("调整系数", "Adjustment"),
    "active": ("参与有功电量", "Active energy"),
    "reactive": ("参与无功电量", "Reactive energy"),
    "base": ("参与调整电费", "Adjusted charges"),
    "basic_price": ("基本电价", "Price of the basic charge"),
    "basic_amount": ("基本电费(元)", "Basic charge (CNY)"),
    "not_assessed": ("不考核", "Not assessed"),
    "undefined": ("无有功电量, 不调整", "No active energy, not adjusted"),
    "document": ("文件", "Document"),
    "file": ("价格文件", "Price file"),
    "no_value": ("未抄到", "Not read"),
    # checks
    "check_periods": ("各时段电量之和 = 总电量", "Energy of the periods = total energy"),
    "check_measured": ("总电量 = 96 点电量合计取整", "Total energy = sum of quarter-hours, in whole kWh"),
    "check_energy": ("各分时电费之和 = 电度电费", "Sum of the energy lines = energy charges"),
    "check_total": ("各项电费之和 = 合计", "Sum of the charges = total"),
    "passed": ("一致", "Agrees"),
    "failed": ("不一致", "Differs"),
    # remarks
    "remark_money": (
        "每项电费四舍五入至分后相加。电价含税。随附的 JSON 数据可独立重算本账单。",
        "Each charge is rounded to the fen, then added up. Prices include VAT. The attached JSON recomputes this bill.",
    ),
    "remark_estimated": (
        "本期有 {n} 个 15 分钟时段的电量为估算值。",
        "The energy of {n} quarter-hours of this bill is estimated.",
    ),
    "remark_provisional": (
        "标 * 的价格文件含待确认条款, 列于该文件之下。",
        "Price files marked * contain provisional rules, listed below each.",
    ),
    "remark_demand": (
        "最大需量取 15 分钟平均功率的最大值(各计量点分别计算后相加)。",
        "Maximum demand is the largest 15-minute average power, per supply point, then added up.",
    ),
    "remark_unprintable": (
        "字体中没有的字符 {characters} 以 〓 代替；随附的 JSON 数据保留原文。",
        "Characters the font lacks ({characters}) are printed as 〓; the attached JSON keeps them.",
    ),
    "remark_signed": (
        "本 PDF 带有电子签名，可用 shoudian-cloud verify-bill 离线核验。",
        "This PDF is signed; shoudian-cloud verify-bill checks it offline.",
    ),
    "remark_unsigned": (
        "本 PDF 没有电子签名，只能核验计算，不能核验出自何人。",
        "This PDF carries no signature: its computation can be checked, not who made it.",
    ),
    "pay_online": (
        "网上交费：登录后在“账单”页用微信支付或支付宝交费，户号 {account}。",
        "Online: sign in and pay on the Bills page by WeChat Pay or Alipay; account {account}.",
    ),
    "pay_bank": (
        "银行转账：附言请写户号 {account}，到账后自动核销。",
        "Bank transfer: write the account number {account} into the reference.",
    ),
    "page": ("第 {n} 页 共 {of} 页", "Page {n} of {of}"),
    # groups of charges
    "section.energy": ("代理购电费", "Agency purchase"),
    "section.line_loss": ("上网环节线损费用", "Line loss"),
    "section.transmission": ("输配电量电费", "Transmission and distribution"),
    "section.system_operation": ("系统运行费", "System operation"),
    "section.funds": ("政府性基金及附加", "Government funds and surcharges"),
    "section.basic": ("输配容(需)量电费(基本电费)", "Basic charge"),
    "section.power_factor": ("功率因数调整电费", "Power factor adjustment"),
    "section.green": ("绿电环境价值", "Green environmental value"),
    "section.energy.retail": ("市场化购电费(零售)", "Market purchase (retail)"),
    "section.energy.direct": ("市场化购电费(批发)", "Market purchase (direct)"),
    "section.catalogue": ("目录电费", "Catalogue price"),
    # charges
    "item.energy": ("代理购电电费", "Purchased energy"),
    "item.line_loss": ("上网环节线损费用", "Line loss"),
    "item.transmission_energy": ("输配电量电费", "T&D energy charge"),
    "item.system_operation": ("系统运行费", "System operation"),
    "item.government_funds": ("政府性基金及附加", "Government funds"),
    "item.capacity_charge": ("变压器容量电费", "Capacity charge"),
    "item.contracted_demand_charge": ("合同最大需量电费", "Contracted demand charge"),
    "item.actual_demand_charge": ("实际最大需量电费", "Actual demand charge"),
    "item.power_factor_adjustment": ("功率因数调整电费", "Power factor adjustment"),
    "item.catalogue_energy": ("目录电费", "Catalogue price"),
    **{
        f"item.catalogue_tier_{n}": (f"目录电费 第 {n} 档", f"Catalogue price, tier {n}") for n in range(1, 7)
    },
    **{
        f"item.catalogue_tier_{n}_increment": (f"阶梯加价 第 {n} 档", f"Increment of tier {n}")
        for n in range(2, 7)
    },
    "item.package_energy": ("零售交易电费", "Retail package"),
    **{
        f"item.package_tier_{n}": (f"零售交易电费 第 {n} 档", f"Retail package, tier {n}")
        for n in range(1, 7)
    },
    "item.package_cap": ("封顶优惠", "Cap"),
    "item.green_value": ("绿电环境价值", "Green environmental value"),
    "item.settled_contract": ("合同电费", "Contract energy"),
    "item.settled_contract_difference": ("合同差价电费", "Contract for difference"),
    "item.settled_day_ahead": ("日前市场电费", "Day-ahead market"),
    "item.settled_real_time": ("实时市场电费", "Real-time market"),
    "item.settled_deviation_over": ("超用偏差电费", "Deviation, used more"),
    "item.settled_deviation_under": ("少用偏差电费", "Deviation, used less"),
    "item.settled_assessment": ("偏差考核电费", "Deviation assessment"),
    "item.settled_mechanism_energy": ("机制电量电费", "Mechanism energy"),
    "item.settled_mechanism": ("机制电量差价", "Mechanism difference"),
    "item.settled_green": ("绿电环境价值", "Green environmental value"),
    "item.settled_line_loss": ("上网环节线损费用", "Line loss"),
    "item.settled_share": ("分摊费用", "Share of a difference"),
    "item.settled_residual": ("剩余电量电费", "Residual energy"),
    "item.settled_held": ("电网留存差额", "Difference held"),
    "item.settled_rounding": ("尾差", "Rounding"),
    # inputs of formulas
    "input.mwh": ("结算电量", "settled energy"),
    "input.price": ("结算价格", "settlement price"),
    "input.reference": ("参考价格", "reference price"),
    "input.factor": ("系数", "factor"),
    "input.surplus": ("差额资金", "difference to share"),
    "input.weight": ("本户权重", "own weight"),
    "input.weights": ("全部权重", "all weights"),
    "input.others": ("他户合计", "others' sum"),
    "input.value": ("金额", "amount"),
    "input.tier_price": ("分档电价", "tier price"),
    "input.period_price": ("分时电价", "period price"),
    "input.agency_price": ("代理购电价格", "agency price"),
    "input.cap_price": ("封顶价格", "cap price"),
    "input.uncapped_fee": ("封顶前电费", "fee before the cap"),
    "input.green_share": ("绿电比例", "green share"),
    "input.green_price": ("环境价值价格", "price of the green value"),
    "input.fixed_price": ("固定价格", "fixed price"),
    "input.fixed_share": ("固定比例", "fixed share"),
    "input.linked_share": ("联动比例", "linked share"),
    "input.average_price": ("市场均价", "average market price"),
    "input.spread": ("价差", "spread"),
    "input.margin": ("服务费", "margin"),
    "input.customer_share": ("客户分享比例", "customer's share"),
    "input.flat_price": ("平段价格", "flat price"),
    "input.floating": ("浮动比例", "floating share"),
    "input.linked_price": ("联动价格", "linked price"),
    "input.linked_ratio": ("联动比例", "linked ratio"),
    "input.reference_price": ("参考价格", "reference price"),
    "input.price_ceiling": ("价格上限", "price ceiling"),
    "input.price_floor": ("价格下限", "price floor"),
    "input.price_rounding": ("价格取整", "price rounding"),
    "input.ratio_limit": ("比例上限", "ratio limit"),
    "input.tier_from_kwh": ("档位起点", "start of the tier"),
    "input.stretch_kwh": ("本段电量", "energy of the stretch"),
    "input.ratio": ("比例", "ratio"),
    "input.rate": ("费率", "rate"),
    "input.principal": ("本金", "principal"),
    "input.government_funds": ("政府性基金及附加", "government funds"),
    "input.rural_grid_loan": ("农网还贷资金", "rural grid loan fund"),
    "input.ancillary_services": ("辅助服务费用", "ancillary services"),
    "input.coal_capacity": ("煤电容量电费", "coal capacity"),
    "input.pumped_storage": ("抽水蓄能容量电费", "pumped storage capacity"),
    "input.cross_subsidy": ("电价交叉补贴新增损益", "cross-subsidy"),
    "input.priority_generation": ("保障性电量新增损益", "priority generation"),
    "input.renewable_mechanism": ("新能源机制差价结算费用", "renewable mechanism"),
    "input.line_loss_purchase": ("线损代理采购损益", "line loss purchase"),
    "input.rest_to_cap": ("封顶差额", "rest to the cap"),
    "input.kwh": ("计费电量", "billed energy"),
    "input.coefficient": ("分时系数", "time-of-use coefficient"),
    "input.average_purchase": ("当月平均购电价格", "average purchase price of the month"),
    "input.historic_deviation": ("历史偏差电费折价", "historic deviation"),
    "input.line_loss": ("上网环节线损费用折价", "line loss price"),
    "input.system_operation": ("系统运行费折价", "system operation price"),
    "input.printed_difference": ("公布价与组成之差", "printed minus recomputed price"),
    "input.transmission_price": ("输配电价", "T&D price"),
    "input.renewable_surcharge": ("可再生能源电价附加", "renewable energy surcharge"),
    "input.major_water_works": ("国家重大水利工程建设基金", "major water works fund"),
    "input.reservoir_resettlement": ("大中型水库移民后期扶持基金", "reservoir resettlement fund"),
    "input.capacity_kva": ("变压器容量", "capacity"),
    "input.capacity_price": ("容量电价", "capacity price"),
    "input.demand_kw": ("最大需量", "maximum demand"),
    "input.demand_price": ("需量电价", "demand price"),
    "input.contract_kw": ("合同最大需量", "contracted demand"),
    "input.contract_floor_ratio": ("核定下限比例", "floor of the contracted demand"),
    "input.contract_limit_ratio": ("免加倍上限", "limit without surcharge"),
    "input.overrun_multiplier": ("超出部分倍数", "multiplier beyond the limit"),
    "input.load_discount_price_factor": ("高负荷率需量电价折扣", "high load factor discount"),
    "input.days": ("实用天数", "days of service"),
    "input.month_days": ("折算天数", "days of a monthly charge"),
    "input.base": ("参与调整电费", "adjusted charges"),
    "input.percent": ("调整系数(%)", "adjustment in percent"),
    # values
    "period.tip": ("尖峰", "Tip"),
    "period.peak": ("高峰", "Peak"),
    "period.flat": ("平段", "Flat"),
    "period.valley": ("低谷", "Valley"),
    "period.deep": ("深谷", "Deep valley"),
    "category.commercial": ("工商业及其他", "Commercial and other"),
    "category.residential": ("居民生活", "Residential"),
    "category.agricultural": ("农业生产", "Agricultural"),
    "category.generation": ("发电", "Generation"),
    "purchase.agency": ("电网代理购电", "Agency purchase"),
    "purchase.direct": ("直接参与市场", "Direct trading"),
    "purchase.retail": ("零售市场", "Retail market"),
    "purchase.catalogue": ("目录电价", "Catalogue price"),
    "structure.single_part": ("单一制", "Single-part"),
    "structure.two_part": ("两部制", "Two-part"),
    "voltage.lt1kV": ("不满1千伏", "below 1 kV"),
    "voltage.1-10kV": ("1-10(20)千伏", "1-10(20) kV"),
    "voltage.35kV": ("35千伏", "35 kV"),
    "voltage.110kV": ("110千伏", "110 kV"),
    "voltage.ge220kV": ("220千伏及以上", "220 kV and above"),
    "demand_mode.none": ("无(单一制)", "none (single-part)"),
    "demand_mode.capacity": ("按变压器容量", "transformer capacity"),
    "demand_mode.contracted": ("按合同最大需量", "contracted demand"),
    "grid.jibei": ("国网冀北电力有限公司", "State Grid Jibei Electric Power"),
    "grid.shanghai": ("国网上海市电力公司", "State Grid Shanghai Electric Power"),
    "grid.hebei": ("国网河北省电力有限公司", "State Grid Hebei Electric Power"),
    "grid.beijing": ("国网北京市电力公司", "State Grid Beijing Electric Power"),
    "grid.tianjin": ("国网天津市电力公司", "State Grid Tianjin Electric Power"),
    "grid.shandong": ("国网山东省电力公司", "State Grid Shandong Electric Power"),
    "grid.hubei": ("国网湖北省电力有限公司", "State Grid Hubei Electric Power"),
    "correction.reading": ("读数更正", "A reading was corrected"),
    "correction.tariff": ("价格文件更正", "A price file was corrected"),
    "correction.terms": ("合同条款更正", "Contract terms were corrected"),
    "correction.rerated": ("按新的数据重新计算", "Computed again with newer facts"),
    "demand_mode.actual": ("按实际最大需量", "actual demand"),
    "register.ea_imp": ("正向有功 总", "Active import, total"),
    "register.ea_exp": ("反向有功 总", "Active export, total"),
    "register.er_imp": ("正向无功 总", "Reactive forward, total"),
    "register.er_exp": ("反向无功 总", "Reactive reverse, total"),
    "unit.kWh": ("千瓦时", "kWh"),
    "unit.MWh": ("兆瓦时", "MWh"),
    "unit.kvarh": ("千乏时", "kvarh"),
    "unit.kVA": ("千伏安", "kVA"),
    "unit.kW": ("千瓦", "kW"),
    "unit.yuan": ("元", "CNY"),
    "unit.day": ("天", "days"),
    "unit.yuan/kWh": ("元/千瓦时", "CNY/kWh"),
    "unit.yuan/MWh": ("元/兆瓦时", "CNY/MWh"),
    "unit.yuan/(kVA month)": ("元/(千伏安·月)", "CNY/(kVA month)"),
    "unit.yuan/(kW month)": ("元/(千瓦·月)", "CNY/(kW month)"),
    "kind.price-sheet": ("代理购电价格表", "Agency price table"),
    "kind.calendar": ("分时电价时段", "Time-of-use calendar"),
    "kind.transmission": ("输配电价表", "T&D price table"),
    "kind.funds": ("政府性基金及附加", "Government funds"),
    "kind.two-part": ("基本电费规则", "Basic charge rules"),
    "kind.catalogue": ("目录电价表", "Catalogue price table"),
    "kind.package": ("零售套餐", "Retail package"),
    "kind.market-prices": ("市场价格", "Market prices"),
    "kind.collection": ("电费回收规则", "Collection rules"),
    "kind.correction": ("更正规则", "Correction rules"),
    "kind.power-factor": ("功率因数调整办法", "Power factor rules"),
}


def word(language: Language, key: str, **facts: object) -> str:
    """Say one label. A key without words shows itself, so that a bill is never lost for a missing label."""
    pair = WORDS.get(key)
    text = key.rpartition(".")[2] if pair is None else pair[language is Language.EN]
    return text.format(**facts) if facts else text


def money_text(amount_fen: int) -> str:
    """Write fen as yuan with thousands separators and two decimals; a true minus sign for negatives."""
    return f"{yuan(amount_fen):,.2f}".replace("-", "−")


def number_text(value: Decimal) -> str:
    """Write a number with thousands separators, without trailing zeros behind the point."""
    whole, point, decimals = f"{value:,f}".partition(".")
    return (
        (whole + point + decimals.rstrip("0")).rstrip(".").replace("-", "−")
        if point
        else whole.replace("-", "−")
    )


def price_text(value: Decimal) -> str:
    """Write a price with all its published decimals."""
    return f"{value.normalize():f}".replace("-", "−")


def percent_text(part: Decimal) -> str:
    """Write a ratio as percent with one decimal."""
    return f"{rounded(part * 100, Decimal('0.1'))}%"


def day_text(language: Language, day: date) -> str:
    """Write a day as the language does."""
    return f"{day.year}年{day.month}月{day.day}日" if language is Language.ZH else day.isoformat()
