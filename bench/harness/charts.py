"""Draws the results as charts with gnuplot, as SVG and PNG. A chart has a line for each server and a panel for each
scenario or figure."""
import dataclasses
import pathlib
import subprocess

from . import http_files, io_models, machine, throughput

FONT = "DejaVu Sans"
# Colours that colour-blind readers can distinguish, too (Okabe and Ito). The baseline is grey.
BASELINE, ONLOOP, PEER, RED = "#8c8c8c", "#0072b2", "#e69f00", "#c00000"
INK = "#222222"

# All lengths are in pixels.
WIDTH = 1100
NAMES = 175   # the width of the names of the servers, left of the panels
LINE = 18     # the height of the line of one server
ABOVE = 70    # the height of the title and of the titles of the panels
BELOW = 34    # the height of the legend
BETWEEN = 14  # the gap between panels
ENTRY = 140   # the width of an entry of the legend

STYLE = f"""
set encoding utf8
set border 2 lc rgb "#444444" lw 1
set style fill solid 1 noborder
unset key
unset xtics
"""


@dataclasses.dataclass(frozen=True)
class Bar:
    value: float
    label: str
    low: float | None = None    # the range, if there is one
    high: float | None = None
    target: float | None = None


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    bars: dict             # the key is the server
    line: float | None     # where the value of the baseline is drawn as a line
    floor: float = 0       # where bars begin; if it is above 0, the scale is logarithmic


def _colour(name: str, baselines: set) -> str:
    if name in baselines:
        return BASELINE
    return ONLOOP if name.startswith("onloop") else PEER


def _ordered(names: list, baselines: set) -> list:
    """The names in this order: baselines, onloop, others. None stands for the gap between two of these groups."""
    lines = []
    for colour in (BASELINE, ONLOOP, PEER):
        group = [name for name in names if _colour(name, baselines) == colour]
        lines += [None] * bool(lines and group) + group
    return lines


def _block(name: str, rows: list) -> str:
    return "\n".join([f"${name} << END", *(" ".join(str(cell) for cell in row) for row in rows), "END", ""])


def _panel(number: int, panel: Panel, lines: list, baselines: set) -> str:
    """The commands that draw a panel. The servers are drawn from top to bottom, so the y of a line is its place from
    the end."""
    known = [(len(lines) - 1 - place, name, panel.bars[name])
             for place, name in enumerate(lines) if name in panel.bars]
    highest = max(max(bar.value, bar.high or 0, bar.target or 0) for _, _, bar in known)
    script = f"unset arrow\nset title \"{panel.title}\" font \"{FONT} Bold,10\" offset 0,-0.4\n"
    # Leave room for a label to the right of the longest bar.
    if panel.floor:
        script += f"set logscale x\nset xrange [{panel.floor}:{highest * (highest / panel.floor) ** 0.45}]\n"
    else:
        script += f"unset logscale x\nset xrange [0:{highest * 1.35}]\n"
    if panel.line is not None:
        script += (f"set arrow from {panel.line}, graph 0 to {panel.line}, graph 1 nohead "
                   'lc rgb "#444444" lw 1 dt (2,3)\n')
    plots = []
    for colour in (BASELINE, ONLOOP, PEER):
        boxes = [(bar.value, y, panel.floor, bar.value, y - 0.4, y + 0.4) for y, name, bar in known
                 if _colour(name, baselines) == colour and bar.value > panel.floor]
        if boxes:
            data = f"panel{number}x{colour[1:]}"
            script += _block(data, boxes)
            plots.append(f'${data} with boxxyerror lc rgb "{colour}"')
    ranges = [(bar.low, y, bar.high - bar.low) for y, _, bar in known if bar.low is not None]
    if ranges:
        script += _block(f"panel{number}ranges", ranges)
        plots.append(f'$panel{number}ranges using 1:2:3:(0) with vectors nohead lw 1.2 lc rgb "{INK}"')
    targets = [(bar.target, y - 0.45) for y, _, bar in known if bar.target is not None]
    if targets:
        script += _block(f"panel{number}targets", targets)
        plots.append(f'$panel{number}targets using 1:2:(0):(0.9) with vectors nohead lw 2 lc rgb "{RED}"')
    labels = [(max(bar.value, bar.high or 0, bar.target or 0, panel.floor * 1.01), y, f'"{bar.label}"')
              for y, _, bar in known]
    script += _block(f"panel{number}labels", labels)
    plots.append(f'$panel{number}labels using 1:2:3 with labels left offset 0.6,0 '
                 f'font "{FONT},9" textcolor rgb "{INK}"')
    return f"{script}plot {', '.join(plots)}\n"


def _draw(title: str, panels: list, names: list, baselines: set, legend: list, target: pathlib.Path) -> None:
    lines = _ordered(names, baselines)
    height = ABOVE + LINE * len(lines) + BELOW
    width = (WIDTH - NAMES - BETWEEN * len(panels)) / len(panels)
    ticks = ", ".join(f'"{name}" {len(lines) - 1 - place}' for place, name in enumerate(lines) if name)
    script = f"""set multiplot title "{title}" font "{FONT} Bold,12"
set yrange [-0.6:{len(lines) - 0.4}]
set tmargin at screen {1 - ABOVE / height}
set bmargin at screen {BELOW / height}
set ytics ({ticks}) scale 0 font "{FONT},10" textcolor rgb "{INK}"
"""
    # The legend belongs to the whole chart. Its coloured squares and lines are characters of the font.
    for place, (sign, colour, words) in enumerate(legend):
        x = (NAMES + place * ENTRY) / WIDTH
        y = BELOW / 2 / height
        script += f'set label "{sign}" at screen {x}, screen {y} textcolor rgb "{colour}" font "{FONT} Bold,11"\n'
        script += f'set label "{words}" at screen {x + 0.018}, screen {y} textcolor rgb "{INK}" font "{FONT},10"\n'
    for number, panel in enumerate(panels):
        left = NAMES + number * (width + BETWEEN)
        script += f"set lmargin at screen {left / WIDTH}\nset rmargin at screen {(left + width) / WIDTH}\n"
        script += _panel(number, panel, lines, baselines)
        script += 'unset label\nset ytics format "" ("" 0)\n'
    script += "unset multiplot\n"
    for terminal, suffix, size, scale in (("svg", "svg", f"{WIDTH},{height}", ""),
                                          ("pngcairo", "png", f"{2 * WIDTH},{2 * height}",
                                           "fontscale 2 linewidth 2")):
        path = target.with_suffix(f".{suffix}")
        head = (f'set terminal {terminal} size {size} font "{FONT},11" {scale} background rgb "white"\n'
                f'set output "{path}"\n')
        subprocess.run(["gnuplot", "-"], input=head + STYLE + script, text=True, check=True)
        machine.say(f"wrote {path}")


def _target(row: dict) -> float | None:
    return float(row["target"].split()[1]) if row.get("target") else None


def _legend(names: list, baselines: set, *more: tuple) -> list:
    kinds = {BASELINE: "baseline", ONLOOP: "onloop", PEER: "other libraries"}
    present = {_colour(name, baselines) for name in names}
    return [*(("■", colour, words) for colour, words in kinds.items() if colour in present), ("|", RED, "target"),
            *more]


def _throughput(result: dict, target: pathlib.Path) -> None:
    charted = {scenario.key for scenario in throughput.SCENARIOS}
    rows = [row for row in result["throughput"] if row["baseline"] and row["scenario"] in charted]
    if not rows:
        return
    panels = []
    for scenario in throughput.SCENARIOS:
        bars = {row["server"]: Bar(row["median"], f"{row['median']:.2f}", row["min"], row["max"], _target(row))
                for row in rows if row["scenario"] == scenario.key}
        if bars:
            panels.append(Panel(scenario.title.replace(", ", r"\n", 1), bars, line=1.0))
    names = list(dict.fromkeys(row["server"] for row in rows))
    title = (f"Echoed messages a second as a ratio to {rows[0]['baseline']}: median and range of "
             f"{result['rounds']} paired rounds")
    legend = _legend(names, set(), ("┊", "#444444", rows[0]["baseline"]), ("—", INK, "range"))
    _draw(title, panels, names, set(), legend, target)


def _http_files(result: dict, target: pathlib.Path) -> None:
    rows = result["http_files"]
    panels = []
    for size in http_files.SIZES:
        for connections, words in http_files.CONNECTED.items():
            bars = {row["server"]: Bar(row["ratio"], f"{row['ratio']:.2f}", row["ratio_min"], row["ratio_max"])
                    for row in rows if (row["size"], row["connections"]) == (size, connections) and row["baseline"]}
            panels.append(Panel(rf"{http_files.TITLES[size]},\n{words}", bars, line=1.0))
    legend = [("■", ONLOOP, "onloop"), ("■", PEER, "others"), ("┊", "#444444", http_files.BASELINE),
              ("—", INK, "range")]
    names = list(dict.fromkeys(row["server"] for row in rows if row["baseline"]))
    _draw(f"Files by HTTP: requests a second as a ratio to {http_files.BASELINE}", panels, names, set(), legend, target)


FIGURES = {
    "system-calls-1": (r"System calls a message\n1 connection", "%.2f"),
    "system-calls-50": (r"System calls a message\n50 connections", "%.2f"),
    "instructions-1": (r"Instructions a message\n1 connection", "%.0f"),
    "instructions-50": (r"Instructions a message\n50 connections", "%.0f"),
    "resident-idle": (r"Resident bytes\nan idle connection", "%.0f"),
}


def _figures(result: dict, target: pathlib.Path, baselines: set) -> None:
    panels = []
    for key, (title, form) in FIGURES.items():
        bars = {row["server"]: Bar(row["value"], form % row["value"], target=_target(row))
                for row in result["figures"] if row["figure"] == key}
        if bars:
            panels.append(Panel(title, bars, line=None))
    if not panels:
        return
    names = list(dict.fromkeys(row["server"] for row in result["figures"]))
    _draw("What a message and an idle connection cost", panels, names, baselines,
          _legend(names, baselines), target)


NOT_ANSWERED = Bar(0, "not answered")


def _io_models(result: dict, target: pathlib.Path) -> None:
    rows = {row["server"]: row for row in result["io_models"]}

    def panel(title: str, bar, floor: float = 0) -> Panel:
        return Panel(title, {name: bar(row) for name, row in rows.items()}, line=None, floor=floor)

    def cpu(row: dict) -> Bar:
        value = row["idle"]["cpu_percent"]
        return Bar(value, f"{value:.1f} %")

    def round_trip(beside: int):
        def bar(row: dict) -> Bar:
            trip = row["round_trip_us"][beside]
            return Bar(trip["p50"], f"{trip['p50']:,.0f}", trip["p50"], trip["p99"]) if trip else NOT_ANSWERED
        return bar

    def memory(row: dict) -> Bar:
        memory = row["connection_kib"]
        return Bar(memory["pss"], f"{memory['pss']:.2f}") if memory else NOT_ANSWERED

    def answered(row: dict) -> Bar:
        value = row["served"][crowd]["answered"]
        return Bar(value, f"{value:,}")

    crowd = io_models.CROWDS[-1]
    alone, beside = io_models.BYSTANDERS
    panels = [
        panel(rf"CPU of a core, {io_models.IDLE}\nidle connections", cpu),
        panel(r"Round trip in µs,\none client alone", round_trip(alone), floor=10),
        panel(rf"Round trip in µs,\nbeside {beside} idle ones", round_trip(beside), floor=10),
        panel(r"Memory, KiB (PSS)\na connection", memory, floor=0.01),
        panel(rf"Answered at once\nof {crowd:,} clients", answered),
    ]
    legend = [("■", ONLOOP, "onloop"), ("■", PEER, "I/O models"),
              ("—", INK, "median to 99th percentile; time and memory are on logarithmic scales")]
    _draw("I/O models beside onloop", panels, list(rows), set(), legend, target)


def draw(result: dict, directory: pathlib.Path) -> None:
    baselines = {row["baseline"] for row in result["throughput"] if row["baseline"]} or {"raw epoll"}
    _throughput(result, directory / "throughput")
    if result.get("http_files"):
        _http_files(result, directory / "http_files")
    _figures(result, directory / "figures", baselines)
    if result.get("io_models"):
        _io_models(result, directory / "io_models")
