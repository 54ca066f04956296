package agents

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sandboxagent/sandboxagent/api"
)

// Factory Droid.
var droid = Agent{
	ID:   "droid",
	Name: "Factory Droid",
	Capabilities: api.AgentCapabilities{
		PlanMode: true, Permissions: true, ToolCalls: true, ToolResults: true,
		TextMessages: true, SessionLifecycle: true, ErrorEvents: true, Reasoning: true,
		CommandExecution: true, FileChanges: true, MCPTools: true, StreamingDeltas: true,
		ItemStarted: true,
	},
	Options: []api.AgentConfigOption{
		modes("normal", "normal=Normal", "spec=Spec", "auto-low=Auto Low", "auto-medium=Auto Medium", "auto-high=Auto High"),
	},
	SkillDirs: []string{".factory/skills"},
	Command:   "droid",
	Args:      []string{"exec", "--output-format", "acp"},
	Native:    "droid",
	Packages: []Package{
		{Name: "droid", Version: "0.215.0"},
	},
	Lock:       lockLinuxX64,
	RegistryID: "factory-droid",
	Credentials: CredentialNeeds{
		Env:   []string{"FACTORY_API_KEY"},
		Files: []string{".factory/auth.json"},
		Hint:  "set FACTORY_API_KEY, or log in once with droid",
	},
	Asking: api.AgentAsking{
		How: api.AsksByDefault, Mode: "normal",
		Note: "commands that only read run unasked, and so do those in its commandAllowlist: where the permissions of the session reject something, a session is refused while there is one",
	},
	Unasked:   droidUnasked,
	Normalize: input{command: "command", file: "file_path"}.normalize,
}

// droidUnasked looks for lists of commands that Droid runs without asking. Lists
// of all its settings are joined, so that none can be taken back by another file.
func droidUnasked(home, cwd string) string {
	for _, dir := range []string{home, cwd} {
		for _, name := range []string{"settings.json", "settings.local.json"} {
			file := filepath.Join(dir, ".factory", name)
			data, err := os.ReadFile(file)
			var settings struct {
				CommandAllowlist []string `json:"commandAllowlist"`
			}
			if err != nil || json.Unmarshal(data, &settings) != nil || len(settings.CommandAllowlist) == 0 {
				continue
			}
			return fmt.Sprintf("commandAllowlist in %s has commands that it runs without asking; remove the list", file)
		}
	}
	return ""
}
