package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// budget is what DESIGN.md asks of a row. The zero value asks for nothing.
type budget struct {
	ratio float64 // at least so many times better than the peer
	limit float64 // at most this value of ours (if less is better) or at least
}

func (b budget) String() string {
	var parts []string
	if b.limit > 0 {
		parts = append(parts, number(b.limit))
	}
	if b.ratio > 0 {
		parts = append(parts, number(b.ratio)+"x")
	}
	return strings.Join(parts, ", ")
}

// met compares what was reached, and what was lost, with the budget.
func (b budget) met(value, ratio float64, r row, lost int64) string {
	switch {
	case math.IsNaN(value):
		return "not measured"
	case r.lossy && lost > 0,
		b.ratio > 0 && !(ratio >= b.ratio), // also if the peer failed
		b.limit > 0 && r.lessBetter && value > b.limit,
		b.limit > 0 && !r.lessBetter && value < b.limit:
		return "**no**"
	case b == (budget{}) && !r.lossy:
		return ""
	}
	return "yes"
}

// number prints with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	case a >= 1:
		return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
	}
	return fmt.Sprintf("%.3g", v)
}

// report is the table of all results, in Markdown.
type report struct {
	head  string
	lines []string
	notes []string
	began time.Time
}

const tableHead = `| measure | unit | ours | peer, log off | peer, as it comes | ratio | lost, ours | lost, peer | budget | met? | others |
|---|---|--:|--:|--:|--:|--:|--:|---|---|--:|
`

func newReport(l *lab, args []string, rounds int) *report {
	r := &report{began: l.started}
	r.head = fmt.Sprintf(`# Results

Our server and the earlier one (npm %s %s) in turns on the same work, %d rounds,
with the same scripted agent. The client is this program, or where the row says so wrk or
net/http. The peer runs with RUST_LOG=warn, and once more as it comes, with a line of log for
each request; the ratio is to the former.

* machine: %s
* date: %s; load average before: %s
* command: %s

Values are medians. The ratio is the median over the rounds of how many times
better ours was than the peer right after it: above 1 ours is faster or smaller.
A budget is a value to reach, a ratio to reach, or both. Lost is the sum over all
rounds, in frames or bytes. Others is how many cores were busy with work that is
not of the benchmark: the further from 0, the less the absolute values say.

`, "`@sandbox-agent/cli`", peerVersion, rounds, machine(), l.started.UTC().Format("2006-01-02 15:04 UTC"), l.loadAvg,
		"`"+strings.TrimSpace("go run ./bench "+strings.Join(args, " "))+"`")
	fmt.Print(r.head + tableHead)
	return r
}

// add appends the rows of a result, and prints them.
func (r *report) add(res result) {
	for i, row := range res.work.rows {
		mine, peers := res.samples[ours][i], res.samples[theirs][i]
		ratio := median(betterBy(mine, peers, row.lessBetter))
		value := median(mine)
		lost := [sides]string{}
		if row.lossy {
			for s := range lost {
				if res.errs[s] == nil {
					lost[s] = fmt.Sprint(res.lost[s][i])
				}
			}
		}
		line := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %.1f |\n", row.title, row.unit, number(value), number(median(peers)),
			number(median(res.samples[logging][i])), number(ratio), lost[ours], lost[theirs], row.budget, row.budget.met(value, ratio, row, res.lost[ours][i]), res.foreign)
		fmt.Print(line)
		r.lines = append(r.lines, line)
	}
	for s, err := range res.errs {
		if err != nil {
			note := fmt.Sprintf("* %s, %s: %v\n", res.work.rows[0].title, side(s), err)
			r.notes = append(r.notes, note)
		}
	}
}

func (r *report) save(path string) error {
	text := r.head + tableHead + strings.Join(r.lines, "")
	if len(r.notes) > 0 {
		text += "\n" + strings.Join(r.notes, "")
	}
	text += fmt.Sprintf("\nTook %s.\n", time.Since(r.began).Round(time.Second))
	return os.WriteFile(path, []byte(text), 0o644)
}
