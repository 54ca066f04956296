package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"golang.org/x/text/width"
)

// table aligns rows in columns. The first row is the header, and is left out
// where programs read, so that a line is always an entry, and whole.
type table struct {
	rows [][]string

	// On a terminal where a line would not fit, these columns give way, in this
	// order. Without them lines are as long as they are.
	give []int
	ids  bool   // the first column has ids, whose beginning is enough
	none string // what is said, on standard error, when there is no row but the header
}

const (
	columnGap   = "  "
	minColumn   = 8  // what a column that gives way keeps
	roomyColumn = 20 // what the first of them keeps as long as ids can be shorter
)

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table, with its header on a terminal.
func (t *table) print(g *globals) error {
	if len(t.rows) == 1 && t.none != "" {
		_, err := fmt.Fprintf(g.env.Err, "sandbox-agent: %s\n", t.none)
		return err
	}
	if g.env.OutTerminal && len(t.give) > 0 {
		cols, _ := g.terminalSize()
		return t.printFitted(g, int(cols))
	}
	rows := t.rows
	if !g.env.OutTerminal && len(rows) > 0 {
		rows = rows[1:]
	}
	w := tabwriter.NewWriter(g.env.Out, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return w.Flush()
}

// printFitted writes the table in so many columns of the terminal, as far as the
// columns that give way allow; 0 is any number.
func (t *table) printFitted(g *globals, room int) error {
	widths := t.widths()
	if room > 0 {
		t.fit(widths, room)
	}
	for _, cells := range t.rows {
		var line strings.Builder
		for i, cell := range cells {
			cell = cut(cell, widths[i])
			line.WriteString(cell)
			if i < len(cells)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-cellsOf(cell)) + columnGap)
			}
		}
		if _, err := fmt.Fprintln(g.env.Out, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func (t *table) widths() []int {
	var widths []int
	for _, cells := range t.rows {
		for i, cell := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], cellsOf(cell))
		}
	}
	return widths
}

// fit makes columns narrower until a line fits into room, and ids shorter.
func (t *table) fit(widths []int, room int) {
	over := func() int {
		sum := len(columnGap) * (len(widths) - 1)
		for _, w := range widths {
			sum += w
		}
		return sum - room
	}
	narrow := func(column, least int) {
		if by := over(); by > 0 {
			widths[column] = max(widths[column]-by, min(widths[column], least))
		}
	}
	narrow(t.give[0], roomyColumn)
	if t.ids && over() > 0 {
		t.shorten()
		widths[0] = t.widths()[0]
	}
	for _, column := range t.give {
		narrow(column, minColumn)
	}
}

// shorten leaves of each id what tells it apart.
func (t *table) shorten() {
	ids := make([]string, 0, len(t.rows))
	for _, cells := range t.rows[1:] {
		ids = append(ids, cells[0])
	}
	for i, id := range shortIDs(ids) {
		t.rows[i+1][0] = id
	}
}

// cellsOf is how many columns of a terminal a text takes.
func cellsOf(text string) (n int) {
	for _, r := range text {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case kind == width.EastAsianWide || kind == width.EastAsianFullwidth:
			n += 2
		default:
			n++
		}
	}
	return n
}

// cut leaves of a text what fits into so many columns of a terminal, and says
// that more was there.
func cut(text string, room int) string {
	if cellsOf(text) <= room {
		return text
	}
	used := 0
	for i, r := range text {
		if used += cellsOf(string(r)); used > room-1 {
			return text[:i] + "…"
		}
	}
	return text
}
