package cli

import (
	"regexp"
	"testing"
)

// TestVersionIsSemantic has the expression that https://semver.org gives.
func TestVersionIsSemantic(t *testing.T) {
	semantic := regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-((?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$`)
	defer func(old string) { commit = old }(commit)
	for _, commit = range []string{"", "1a2b3c4", "1a2b3c4.dirty"} {
		if v := Version().Version; !semantic.MatchString(v) {
			t.Errorf("%q is not a semantic version", v)
		}
	}
}
