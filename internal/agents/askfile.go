package agents

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/internal/atomicfile"
)

// An askFile is a file of settings, in JSON, that outranks those of the user and of
// the project, and that a variable names to the agent. The agent gets a private
// one: what the machine has there, and what makes the agent ask.
type askFile struct {
	variable string         // that names the file
	machine  string         // the file that the agent reads without it; empty means none
	members  map[string]any // what is added to it; lists are appended
}

// write makes the private file of an agent below dir, and returns its name. Files
// have the names of their contents, so that an agent that runs keeps its own.
func (f askFile) write(dir, id string, env map[string]string) (string, error) {
	object := make(map[string]any)
	from := f.machine
	if named := env[f.variable]; named != "" {
		from = named
	}
	data, err := os.ReadFile(from)
	switch {
	case from == "" || errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		if err := json.Unmarshal(data, &object); err != nil {
			return "", fmt.Errorf("read settings of the machine in %s: %w; remove its comments if it has any", from, err)
		}
	}
	merge(object, f.members)
	data, err = json.Marshal(object)
	if err != nil {
		return "", err
	}
	return keep(dir, id, ".json", data)
}

// keep writes a file that every user can read, unless it is there.
func keep(dir, id, extension string, data []byte) (string, error) {
	sum := sha256.Sum256(data)
	name := filepath.Join(dir, fmt.Sprintf("%s-%x%s", id, sum[:8], extension))
	if was, err := os.ReadFile(name); err == nil && string(was) == string(data) {
		return name, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return name, atomicfile.Write(name, data, atomicfile.Options{Mode: 0o644, NoSync: true})
}
