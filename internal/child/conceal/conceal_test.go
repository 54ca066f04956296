package conceal_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sandboxagent/sandboxagent/internal/child/conceal"
)

func TestMaskHidesSecretsAndNothingElse(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"server --port 80", "server --port 80"},
		{"server --token abc", "server --token ***"},
		{"--token=abc server", "--token=*** server"},
		{"-t abc server --port 80", "-t *** server --port 80"},
		{"-tabc server", "-t*** server"},
		{"-t=abc server", "-t**** server"},
		{"-nt abc server", "-nt *** server"},
		{"server --token", "server --token"},
		{"server --token-file /run/x", "server --token-file ******"},
		{"server --listen unix:/s", "server --listen *******"},
		{"server --tokens abc", "server --tokens abc"},
		{"process run --env KEY=abc x", "process run --env KEY=*** x"},
		{"config --header=X=abc", "config --header=X=***"},
		{"config --env abc", "config --env ***"},
		{"-e http://u:pw@host/a@b", "-e http://****@host/a@b"},
		{"--git=https://tok@h/r,ssh://u:p@h/r", "--git=https://***@h/r,ssh://***@h/r"},
		{"run mail@example.com http://h/@x", "run mail@example.com http://h/@x"},
		{"", ""},
	} {
		args := append([]string{"sandbox-agent"}, strings.Fields(test.args)...)
		before := slices.Clone(args)
		got := conceal.Mask(args)
		if text := strings.Join(got[1:], " "); text != test.want {
			t.Errorf("%s: %s, want %s", test.args, text, test.want)
		}
		for i := range got {
			if len(got[i]) != len(before[i]) || args[i] != before[i] {
				t.Errorf("%s: length or original of %q changed", test.args, before[i])
			}
		}
	}
}
