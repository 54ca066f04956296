package api

// ChangeStatus says what happened to a path.
type ChangeStatus string

// The states of a changed path. One that was replaced by another kind of file, such as
// a link, is modified.
const (
	ChangeAdded    ChangeStatus = "added"
	ChangeModified ChangeStatus = "modified"
	ChangeDeleted  ChangeStatus = "deleted"
)

// Change is a path of a sandbox's workspace that is not as it was at the beginning, or
// when changes were last applied.
type Change struct {
	Path    string       `json:"path"`
	Status  ChangeStatus `json:"status"`
	OldMode string       `json:"oldMode,omitempty" doc:"Type and permissions before, octal as in stat(2); absent for an added path"`
	Mode    string       `json:"mode,omitempty" doc:"Type and permissions now, octal as in stat(2); absent for a deleted path"`
	Size    int64        `json:"size,omitempty" doc:"Bytes now"`

	Binary     bool `json:"binary,omitempty"`
	Insertions int  `json:"insertions,omitempty" doc:"Lines added; 0 for a binary file"`
	Deletions  int  `json:"deletions,omitempty" doc:"Lines removed; 0 for a binary file"`

	Ignored bool   `json:"ignored,omitempty" doc:"An ignore file of the workspace leaves it out; it is listed only if asked for"`
	Runs    string `json:"runs,omitempty" doc:"Why something on the user's machine may run what is in it"`
}

// Changes is what differs between the workspace of a sandbox and its base.
type Changes struct {
	Files      []Change      `json:"files"`
	Insertions int           `json:"insertions"`
	Deletions  int           `json:"deletions"`
	Ignored    int           `json:"ignored" doc:"Changed paths that ignore files leave out, and that are not listed"`
	Skipped    []SkippedPath `json:"skipped,omitempty" doc:"What cannot be brought out, such as sockets"`
}

// SkippedPath is a path that is left out, with the reason in words.
type SkippedPath struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Applied is what was written into a directory.
type Applied struct {
	Dir     string        `json:"dir"`
	Files   []Change      `json:"files"`
	Merged  []string      `json:"merged,omitempty" doc:"Paths whose lines were merged with changes of the directory's own"`
	Left    []SkippedPath `json:"left,omitempty" doc:"Directories that were not removed, since they hold other files"`
	Skipped []SkippedPath `json:"skipped,omitempty" doc:"What was not brought out, such as sockets"`
}
