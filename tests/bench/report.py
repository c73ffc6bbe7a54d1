# SPDX-License-Identifier: MIT
"""What make bench prints of what it has measured."""

from statistics import median, quantiles

ORDER = ["library", "queue", "C floor", "U-Boot", "Linux", "Linux dd"]
READS = {name: f"reads, {name}, µs a request" for name in ("null-co", "raw file")}
FILES = "files of 32 MiB, raw file, ms a MiB"
FILE = "FAT: read, 64 KiB a call"
REQUEST = "bytes a request"


def spread(values):
    """Half the width of the middle half, in percent of the median; None of a single value."""
    if len(values) < 2:
        return None
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return 50 * (high - low) / middle if middle else 0.0


def ratio(row, other):
    """How many times the other's median the library's is, or None."""
    if "library" not in row or other not in row:
        return None
    return median(row["library"]) / median(row[other])


def summary(found):
    """The figures of each cell, with their median and spread."""
    return {
        group: {
            what: {
                name: {"rounds": values, "median": median(values), "spread, %": spread(values)}
                for name, values in row.items()
            }
            for what, row in rows.items()
        }
        for group, rows in found.items()
    }


def cell(values):
    wide = spread(values)
    return f"{median(values):,.1f}" + ("" if wide is None else f" ±{wide:2.0f} %")


def table(found):
    for group, rows in found.items():
        names = [name for name in ORDER if any(name in row for row in rows.values())]
        header = "".join(f"{name:>16}" for name in names)
        print(f"\n{group:<38}{header}   of floor  of Linux")
        for what, row in rows.items():
            line = f"  {what:<36}"
            for name in names:
                line += f"{cell(row[name]) if name in row else '-':>16}"
            for other in ("C floor", "Linux" if "Linux" in row else "Linux dd"):
                value = ratio(row, other)
                line += f"{'' if value is None else format(value, '.2f'):>10}"
            print(line.rstrip())


def empty_cells(no_linux, no_u_boot):
    print("\nAt depth 128 the library has 64 requests in flight, as many as its queue takes; the")
    print("others follow as these are done.")
    print("\nNot measured (-):")
    print("  queue     at depth 128: its chains are all added before one is awaited, and 64 fit")
    if no_linux:
        print(f"  Linux     {no_linux}")
    else:
        print("  Linux dd  below 4 KiB, where busybox's dd uses the page cache; above depth 1;")
        print("            files: there both do the same calls")
    if no_u_boot:
        print(f"  U-Boot    {no_u_boot}")
    else:
        print("  U-Boot    writes: nothing like the cached read tells what the command costs;")
        print("            depths: its driver has one request; entropy: it has no rng command;")
        print("            files: it reads whole ones only, and its clock counts milliseconds")


def beside(idles):
    print("\nhost's CPU while idle at the prompt, %")
    for name, percent in idles.items():
        print(f"  {name:<10}{percent:.1f}")


# The figures to reach


def times_other(found, group, what, other):
    row = found.get(group, {}).get(what, {})
    return ratio(row, other)


def figures(found, counts):
    """-> [what, unit, at most, what it is or None]"""
    rows = []
    for backend, group in READS.items():
        for size in ("4 KiB", "1 MiB"):
            what = f"{size}, depth 1"
            for other, most in (("C floor", 1.15), ("Linux dd", 0.25), ("Linux", 0.25)):
                text = f"{size} read, depth 1, {backend}"
                rows.append([text, f"x {other}", most, times_other(found, group, what, other)])
        text = f"4 KiB reads, batch of 32, {backend}"
        rows.append(
            [text, "x C floor", 2, times_other(found, group, "4 KiB, depth 32", "C floor")]
        )
    for place in ("one core", "two cores"):
        group = f"QEMU's threads on {place}, µs a request"
        value = times_other(found, group, "4 KiB read, null-co", "C floor")
        rows.append([f"4 KiB read, depth 1, on {place}", "x C floor", 1.15, value])
    for other in ("Linux dd", "Linux"):
        value = times_other(found, "entropy, µs a request", "64 B", other)
        rows.append(["64 B of entropy", f"x {other}", 0.5, value])
    value = times_other(found, FILES, FILE, "Linux")
    rows.append(["FAT: read 32 MiB, 64 KiB a call", "x Linux", 1, value])
    return rows + counted_figures(counts)


def counted_figures(counts):
    rows = []
    for form in ("direct", "indirect"):
        rows.append(counted(counts, f"add of 3, {form}", 4000))
        rows.append(counted(counts, f"pop_used of 3, {form}", 2000))
        rows.append(counted(counts, f"pop_used of 3, {form}, interrupts wanted", 2000))
    rows.append(counted(counts, "readblocks of 4 KiB", 8000))
    most = max((number for number, unit in counts.values() if unit == REQUEST), default=None)
    rows.append(["heap taken by a request, any path", REQUEST, 0, most])
    rows.append(counted(counts, "import, a disk, an entropy device", 16 * 1024))
    return rows


def counted(counts, what, most):
    number, unit = counts.get(what, (None, "instructions"))
    return [what, unit, most, number]


def reached(rows):
    print(f"\n{'Figures to reach':<38}{'':<16}{'at most':>9}{'is':>9}")
    for what, unit, most, value in rows:
        if value is None:
            number, verdict = "-", "not measured"
        else:
            number = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
            verdict = "reached" if value <= most else "missed"
        print(f"  {what:<36}{unit:<16}{most:>9,}{number:>9}  {verdict}")
