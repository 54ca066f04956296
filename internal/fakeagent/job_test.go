package fakeagent

import "testing"

func TestParseJob(t *testing.T) {
	for text, want := range map[string]job{
		"add a README that says hello":                            {verb: write, path: "README.md", content: "hello\n", keep: true},
		"Please add a readme saying \"Hi there\"":                 {verb: write, path: "README.md", content: "Hi there\n", keep: true},
		"write übung/名前.txt with x":                               {verb: write, path: "übung/名前.txt", content: "x\n"},
		"write notes.txt with some text":                          {verb: write, path: "notes.txt", content: "some text\n"},
		"create a file called a.txt containing 'x y'":             {verb: write, path: "a.txt", content: "x y\n"},
		"create a file named sub/b.txt with the text: two\nlines": {verb: write, path: "sub/b.txt", content: "two\nlines\n"},
		"create `c d.txt` with content hello":                     {verb: write, path: "c d.txt", content: "hello\n"},
		"write hello world to out.txt":                            {verb: write, path: "out.txt", content: "hello world\n"},
		"put \"a with b\" into x.md":                              {verb: write, path: "x.md", content: "a with b\n"},
		"could you please create empty.txt":                       {verb: write, path: "empty.txt"},
		"create docs/guide.md":                                    {verb: write, path: "docs/guide.md", content: "# guide\n"},
		"write main.go: package main":                             {verb: write, path: "main.go", content: "package main\n"},
		"make a file that says ok":                                {verb: write, path: "notes.txt", content: "ok\n"},
		"append \"more\" to notes.txt":                            {verb: appendTo, path: "notes.txt", content: "more\n"},
		"add the line \"x\" to the file notes.txt":                {verb: appendTo, path: "notes.txt", content: "x\n"},
		"add a line saying hi to notes.txt":                       {verb: appendTo, path: "notes.txt", content: "hi\n"},
		"delete a.txt":                                            {verb: remove, path: "a.txt"},
		"remove the file old.log.":                                {verb: remove, path: "old.log"},
		"rename a.txt to b.txt":                                   {verb: rename, path: "a.txt", to: "b.txt"},
		"move src/a.go to src/b.go":                               {verb: rename, path: "src/a.go", to: "src/b.go"},
		"replace old with new in a.txt":                           {verb: replace, path: "a.txt", old: "old", new: "new"},
		"change \"a b\" to \"c d\" in the file x.md":              {verb: replace, path: "x.md", old: "a b", new: "c d"},
		"edit a.txt: replace 'x' with 'y'":                        {verb: replace, path: "a.txt", old: "x", new: "y"},
		"In future please":                                        {verb: -1},
		"run ls -la":                                              {verb: run, command: "ls -la"},
		"run the command `echo \"hi\" > f`":                       {verb: run, command: "echo \"hi\" > f"},
		"execute \"make test\"":                                   {verb: run, command: "make test"},
		"run the tests":                                           {verb: -1},
		"hello":                                                   {verb: -1},
		"what does write a.txt with b mean?":                      {verb: -1},
		"write a poem":                                            {verb: -1},
		"add 2 and 3":                                             {verb: -1},
		"delete everything":                                       {verb: -1},
		"":                                                        {verb: -1},
		"write":                                                   {verb: -1},
		"tell me how to delete a.txt":                             {verb: -1},
	} {
		got, ok := parseJob(text)
		if !ok {
			got = job{verb: -1}
		}
		if got != want {
			t.Errorf("%q\n got %+v\nwant %+v", text, got, want)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add("add a README that says hello")
	f.Add("edit a.txt: replace 'x' with 'y'")
	f.Add("put `a in b.c")
	f.Fuzz(func(t *testing.T, text string) {
		j, ok := parseJob(text)
		if !ok {
			return
		}
		if j.verb == run && j.command == "" || j.verb != run && j.path == "" {
			t.Errorf("%q: nothing to act on in %+v", text, j)
		}
	})
}
