package ignore

import "testing"

func TestIgnore(t *testing.T) {
	for _, c := range []struct {
		rules, path string
		dir, want   bool
	}{
		{"*.log", "a/b.log", false, true},
		{"*.log", "a/b.txt", false, false},
		{"*.log\n!keep.log", "keep.log", false, false},
		{"build/", "build", true, true},
		{"build/", "build", false, false},
		{"/top", "top", false, true},
		{"/top", "a/top", false, false},
		{"a/b", "x/a/b", false, false},
		{"a/b", "a/b", false, true},
		{"**/b", "x/y/b", false, true},
		{"**/b", "b", false, true},
		{"a/**", "a", true, false},
		{"a/**", "a/x/y", false, true},
		{"a/**/z", "a/z", false, true},
		{"# comment", "# comment", false, false},
		{`\#hash`, "#hash", false, true},
		{`\!bang`, "!bang", false, true},
		{"space \r", "space", false, true},
		{`kept\ `, "kept ", false, true},
		{"{a,b}", "a", false, false},
		{"{a*,b}", "{ax,b}", false, true},
		{"[!a]x", "bx", false, true},
		{"[!a]x", "ax", false, false},
		{"[a-", "a", false, false},
		{"\ufeffbom", "bom", false, true},
		{"a?c", "a/c", false, false},
		{"", "x", false, false},
	} {
		r := New(nil, "/r", []byte(c.rules))
		if got := r.Ignored("/r/"+c.path, c.dir); got != c.want {
			t.Errorf("%q on %q (directory %v): %v", c.rules, c.path, c.dir, got)
		}
	}
}

func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!a\n/b/\n[x", "a/b.log")
	f.Add("a/**/{b}\\", "a/b")
	f.Fuzz(func(t *testing.T, rules, path string) {
		r := New(nil, "/r", []byte(rules))
		r.Ignored("/r/"+path, true)
		with := New(nil, "/r", []byte(rules+"\n!*"))
		if with.Ignored("/r/"+path, false) {
			t.Errorf("%q is ignored although the last rule takes all back", path)
		}
	})
}
