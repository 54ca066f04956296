package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestTableFitsTheTerminal(t *testing.T) {
	make := func() *table {
		list := &table{ids: true, give: []int{3, 1}}
		list.row("ID", "AGENT", "ASKS", "TITLE")
		list.row("3f2a91c05b7de468", "claude", "-", "add a README that says hello to whoever reads it")
		list.row("nightly", "an-agent-of-mine", "1", "日本語の題名はセルを二つずつ使うので幅が違います")
		list.row("3f2affffffffffff", "mock", "-", "")
		return list
	}
	for _, test := range []struct {
		room int
		has  []string // in some line
	}{
		{0, []string{"3f2a91c05b7de468", "to whoever reads it"}},
		{200, []string{"3f2a91c05b7de468", "to whoever reads it", "幅が違います"}},
		{80, []string{"3f2a91c05b7de468", "add a README that says", "…"}},
		{60, []string{"3f2a91c0 ", "an-agent-of-mine", "…"}},
		{40, []string{"3f2a91c0 ", "nightly", "…"}},
		{34, []string{"3f2a91c0 ", "an-ag", "add a", "…"}},
	} {
		var out bytes.Buffer
		if err := make().printFitted(&globals{env: Environment{Out: &out}}, test.room); err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(out.String(), "\n") {
			if test.room > 0 && cellsOf(line) > test.room {
				t.Errorf("%d columns: %q has %d", test.room, line, cellsOf(line))
			}
		}
		for _, text := range test.has {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%d columns: no %q in\n%s", test.room, text, out.String())
			}
		}
	}
}

func TestTextIsCutToColumns(t *testing.T) {
	for _, test := range []struct {
		text string
		room int
		want string
	}{
		{"hello", 5, "hello"},
		{"hello", 4, "hel…"},
		{"hello", 1, "…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"e\u0301e\u0301e\u0301", 3, "e\u0301e\u0301e\u0301"},
		{"", 0, ""},
	} {
		if got := cut(test.text, test.room); got != test.want {
			t.Errorf("%q in %d columns is %q, want %q", test.text, test.room, got, test.want)
		}
	}
}
