"""The results as charts, SVG and PNG, by gnuplot."""
import pathlib
import subprocess

from . import deterministic, machine, throughput

FONT = "DejaVu Sans"
# Told apart by colour-blind readers, too (Okabe and Ito); the baseline is grey.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#5e3c99")
GREY = "#8c8c8c"

RED = "#c00000"

STYLE = """
set encoding utf8
set border 3 lc rgb "#444444" lw 1
set tics nomirror textcolor rgb "#222222" scale 0.5
set grid ytics lc rgb "#dddddd" lw 1 lt 1
set style fill solid 1 noborder
"""
WIDTH = 960


def _gnuplot(script: str, target: pathlib.Path, legend: int) -> None:
    """`legend`: how many entries it has; it stands below the plot in rows of up to four."""
    below = 22 * -(-legend // 4)
    width, height = WIDTH, 420 + below
    script = (f"set bmargin at screen {(below + 62) / height}\n"
              f"set key noautotitle at screen 0.5, screen {(below / 2 + 8) / height} center center horizontal "
              f'maxcols 4 Left reverse samplen 1.5 spacing 1.1 font "{FONT},10"\n') + script
    for terminal, suffix, size, scale in (("svg", "svg", f"{width},{height}", ""),
                                          ("pngcairo", "png", f"{2 * width},{2 * height}", "fontscale 2 linewidth 2")):
        path = target.with_suffix(f".{suffix}")
        head = (f'set terminal {terminal} size {size} font "{FONT},11" {scale} background rgb "white"\n'
                f'set output "{path}"\n')
        subprocess.run(["gnuplot", "-"], input=head + STYLE + script, text=True, check=True)
        machine.say(f"wrote {path}")


def _colours(names: list, baselines: set) -> dict:
    colours = iter(COLOURS * (len(names) // len(COLOURS) + 1))
    return {name: GREY if name in baselines else next(colours) for name in names}


def _block(name: str, rows: list) -> str:
    return "\n".join([f"${name} << END", *(" ".join(str(cell) for cell in row) for row in rows), "END", ""])


def _target(row: dict, left: float, right: float) -> str:
    if not row.get("target"):
        return ""
    limit = row["target"].split()[1]
    return f'set arrow from {left},{limit} to {right},{limit} nohead lc rgb "{RED}" lw 1.5 dt (6,4) front\n'


def _throughput(result: dict, target: pathlib.Path, colours: dict) -> None:
    rows = [row for row in result["throughput"] if row["baseline"]]
    scenarios = [s for s in throughput.SCENARIOS if any(row["scenario"] == s.key for row in rows)]
    names = [name for name in colours if any(row["server"] == name for row in rows)]
    if not names:
        return
    width = 0.8 / len(names)
    script, plots = "", []
    for index, name in enumerate(names):
        points = []
        for row in (row for row in rows if row["server"] == name):
            group = next(x for x, s in enumerate(scenarios) if s.key == row["scenario"])
            centre = group + (index - (len(names) - 1) / 2) * width
            points.append([centre, row["median"], row["min"], row["max"], f'"{row["median"]:.2f}"'])
            script += _target(row, centre - width / 2, centre + width / 2)
        script += _block(f"server{index}", points)
        plots += [f'$server{index} using 1:2:({width * 0.92}) with boxes lc rgb "{colours[name]}" title "{name}"',
                  f'$server{index} using 1:3:(0):($4-$3) with vectors nohead lw 1.2 lc rgb "#222222"',
                  f'$server{index} using 1:(0.04):5 with labels {_rotation(names)} textcolor rgb "white" '
                  f'font "{FONT} Bold,10"']
    labels = ", ".join(f'"{s.title.replace(", ", chr(92) + "n", 1)}" {x}' for x, s in enumerate(scenarios))
    title = (f"Echoed messages a second as a ratio to {rows[0]['baseline']}: median and range of "
             f"{result['rounds']} paired rounds")
    script += f"""
set title "{title}" font "{FONT} Bold,12"
set xrange [-0.5:{len(scenarios) - 0.5}]
set yrange [0:{max(1.1, max(row["max"] for row in rows) + 0.05):.2f}]
set xtics ({labels}) scale 0
set ytics 0.2 format "%.1f"
set arrow from graph 0, first 1 to graph 1, first 1 nohead lc rgb "#444444" lw 1 back
plot {", ".join(plots)}, NaN with lines lc rgb "{RED}" lw 1.5 dt (6,4) title "target"
"""
    _gnuplot(script, target, len(names) + 1)


def _rotation(names: list) -> str:
    return "rotate by 90 left" if len(names) > 3 else ""


def _figures(result: dict, target: pathlib.Path, colours: dict) -> None:
    """A panel for each kind of figure, a bar for each server, a red line where the target is."""
    panels = (("System calls a message", "system-calls", "%.2f"),
              ("User-mode instructions a message", "instructions", "%.0f"),
              ("Resident bytes", "resident-idle", "%.0f"))
    panels = [p for p in panels if any(row["figure"].startswith(p[1]) for row in result["figures"])]
    names = [name for name in colours if any(row["server"] == name for row in result["figures"])]
    if not panels:
        return
    # Panels are as wide as the groups of bars in them.
    groups = [[f.key for f in deterministic.FIGURES if f.key.startswith(prefix)] for _, prefix, _ in panels]
    unit = (0.98 - 0.07 * len(panels)) / sum(map(len, groups))
    script, left = "set multiplot\nset tmargin at screen 0.88\n", 0.0
    for number, ((title, _, form), keys) in enumerate(zip(panels, groups)):
        bars, plots, arrows, ticks, highest = {name: [] for name in names}, [], "", [], 0.0
        for group, key in enumerate(keys):
            start = group * (len(names) + 1)
            ticks.append(f'"{group_title(key)}" {start + (len(names) - 1) / 2}')
            for row in (row for row in result["figures"] if row["figure"] == key):
                x = start + names.index(row["server"])
                bars[row["server"]].append([x, row["value"], f'"{form % row["value"]}"'])
                arrows += _target(row, x - 0.5, x + 0.5)
                highest = max(highest, row["value"], float(row["target"].split()[1]) if row["target"] else 0)
        for index, name in enumerate(names):
            data = f"$panel{number}server{index}"
            script += _block(data[1:], bars[name])
            plots += [f'{data} using 1:2:(0.85) with boxes lc rgb "{colours[name]}"',
                      f'{data} using 1:({highest * 0.03}):3 with labels {_rotation(names)} textcolor rgb "white" '
                      f'font "{FONT} Bold,9"']
        script += f"""unset arrow
{arrows}set title "{title}" font "{FONT} Bold,11"
set lmargin at screen {left + 0.06}
set rmargin at screen {left + 0.06 + unit * len(keys)}
set xrange [-0.9:{len(keys) * (len(names) + 1) - 1.1}]
set yrange [0:{highest * 1.08}]
set xtics ({", ".join(ticks)}) scale 0
plot {", ".join(plots)}
"""
        left += 0.07 + unit * len(keys)
    legend = [f'NaN with boxes lc rgb "{colours[name]}" title "{name}"' for name in names]
    legend.append(f'NaN with lines lc rgb "{RED}" lw 1.5 dt (6,4) title "target"')
    # A key is no wider than its plot, so the legend of all panels is an empty plot over the whole width.
    script += f"""unset arrow
unset title
unset border
unset tics
set lmargin at screen 0
set rmargin at screen 1
plot {", ".join(legend)}
unset multiplot
"""
    _gnuplot(script, target, len(names) + 1)


def group_title(key: str) -> str:
    return {"1": "1 connection", "50": "50 connections"}.get(key.rsplit("-", 1)[1], "idle connection")


def draw(result: dict, directory: pathlib.Path) -> None:
    rows = result["throughput"] + result["figures"]
    baselines = {row["baseline"] for row in result["throughput"] if row["baseline"]} or {"raw epoll"}
    names = list(dict.fromkeys(row["server"] for row in rows))
    colours = _colours(names, baselines)
    if result["throughput"]:
        _throughput(result, directory / "throughput", colours)
    if result["figures"]:
        _figures(result, directory / "figures", colours)
