package api

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
)

// The codes of the filesystem.
const (
	CodeInvalidPath     Code = "invalid_path"
	CodeNotADirectory   Code = "not_a_directory"
	CodeIsADirectory    Code = "is_a_directory"
	CodeNotAFile        Code = "not_a_file"
	CodeNotEmpty        Code = "not_empty"
	CodeNameTooLong     Code = "name_too_long"
	CodeNoSpace         Code = "no_space"
	CodeReadOnly        Code = "read_only"
	CodeLinkLoop        Code = "loop"
	CodeBusy            Code = "busy"
	CodeFileTooLarge    Code = "file_too_large"
	CodeTooManyFiles    Code = "too_many_open_files"
	CodeOSError         Code = "os_error"
	CodeProtectedPath   Code = "protected_path"
	CodeMoveIntoItself  Code = "move_into_itself"
	CodeInvalidMode     Code = "invalid_mode"
	CodeInvalidEncoding Code = "invalid_encoding"
	CodeInvalidPage     Code = "invalid_page"
	CodeInvalidPattern  Code = "invalid_pattern"
	CodeInvalidArchive  Code = "invalid_archive"
	CodeUnsafeArchive   Code = "unsafe_archive"
	CodeRange           Code = "range_not_satisfiable"
	CodePrecondition    Code = "precondition_failed"
	CodeWatchLimit      Code = "watch_limit"
)

// EntryType is what the earlier clients know of an entry: everything that is
// not a directory is a file. [FileKind] says which kind of file.
type EntryType string

// The two entry types.
const (
	EntryFile      EntryType = "file"
	EntryDirectory EntryType = "directory"
)

// FileKind is what an entry is, links not followed.
type FileKind string

// The kinds of entry.
const (
	KindFile      FileKind = "file"
	KindDirectory FileKind = "directory"
	KindSymlink   FileKind = "symlink"
	KindFIFO      FileKind = "fifo"
	KindSocket    FileKind = "socket"
	KindDevice    FileKind = "device"
)

// FileEntry is one entry of a directory, links not followed.
type FileEntry struct {
	Name      string    `json:"name" doc:"Name within the directory"`
	Path      string    `json:"path" doc:"Path of the directory as asked for, with the name"`
	EntryType EntryType `json:"entryType" enum:"file,directory" doc:"Everything that is not a directory is a file; kind says which"`
	Size      int64     `json:"size" doc:"Bytes; of a link, the length of its target"`
	Modified  string    `json:"modified,omitempty" doc:"Time of the last change, RFC 3339 in UTC"`
	Kind      FileKind  `json:"kind,omitempty" enum:"file,directory,symlink,fifo,socket,device"`
	Mode      string    `json:"mode,omitempty" doc:"Permission bits in octal, for example 0644"`
	Target    string    `json:"target,omitempty" doc:"What a link points at, as written in the link"`
	RawName   string    `json:"rawName,omitempty" doc:"Only for a name that is not UTF-8, which name and path show with replacement characters: the name percent-encoded byte by byte, ready for a query"`
}

// AppendJSON appends e as [encoding/json] encodes it. It is quicker, for directories of
// many entries.
func (e *FileEntry) AppendJSON(b []byte) []byte {
	b = appendString(append(b, `{"name":`...), e.Name)
	b = appendString(append(b, `,"path":`...), e.Path)
	b = appendString(append(b, `,"entryType":`...), string(e.EntryType))
	b = strconv.AppendInt(append(b, `,"size":`...), e.Size, 10)
	b = appendMember(b, `,"modified":`, e.Modified)
	b = appendMember(b, `,"kind":`, string(e.Kind))
	b = appendMember(b, `,"mode":`, e.Mode)
	b = appendMember(b, `,"target":`, e.Target)
	b = appendMember(b, `,"rawName":`, e.RawName)
	return append(b, '}')
}

// appendMember appends a member of an object unless it is empty.
func appendMember(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value)
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(s) // no string is an error
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// FileStat describes one path, links followed.
type FileStat struct {
	Path      string    `json:"path"`
	EntryType EntryType `json:"entryType" enum:"file,directory"`
	Size      int64     `json:"size" doc:"Bytes"`
	Modified  string    `json:"modified,omitempty" doc:"Time of the last change, RFC 3339 in UTC"`
	Kind      FileKind  `json:"kind,omitempty" enum:"file,directory,fifo,socket,device"`
	Mode      string    `json:"mode,omitempty" doc:"Permission bits in octal, for example 0644"`
	Target    string    `json:"target,omitempty" doc:"What the path points at when it is a link itself"`
}

// FilePath is the answer of calls that act on one path.
type FilePath struct {
	Path string `json:"path"`
}

// FileMkdirRequest is the body of mkdir, for clients that do not put the path
// into the query.
type FileMkdirRequest struct {
	Path string `json:"path"`
}

// FileWriteResult is the answer of a write.
type FileWriteResult struct {
	Path         string `json:"path"`
	BytesWritten int64  `json:"bytesWritten"`
}

// FileMoveRequest asks for a move.
type FileMoveRequest struct {
	From      string `json:"from"`
	To        string `json:"to"`
	Overwrite bool   `json:"overwrite,omitempty" doc:"Replace what is at to, directories included"`
}

// FileMoveResult is the answer of a move.
type FileMoveResult struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// FileUploadResult is the answer of an archive upload.
type FileUploadResult struct {
	Paths     []string `json:"paths" doc:"What was written, in archive order, at most 1024"`
	Truncated bool     `json:"truncated" doc:"Whether there were more"`

	Skipped []FileSkipped `json:"skipped,omitempty" doc:"What was left out, in archive order, at most 1024"`
}

// FileSkipped is an entry of an archive that was not unpacked.
type FileSkipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason" doc:"In words, for people"`
}

// FileBatchRequest writes several files, all or none.
type FileBatchRequest struct {
	Files []FileBatchItem `json:"files"`
}

// FileBatchItem is one file of a batch.
type FileBatchItem struct {
	Path     string `json:"path"`
	Content  string `json:"content"`
	Encoding string `json:"encoding,omitempty" enum:"utf8,base64" doc:"Of content; utf8 when absent"`
	Mode     string `json:"mode,omitempty" doc:"Permission bits in octal, for example 0755"`
}

// FileBatchResult is the answer of a batch, in the order of the request.
type FileBatchResult struct {
	Paths     []string          `json:"paths"`
	Truncated bool              `json:"truncated"`
	Files     []FileWriteResult `json:"files"`
}

// FileWatchType says what happened to a watched path.
type FileWatchType string

// The types of watch event.
const (
	WatchCreate   FileWatchType = "create"
	WatchModify   FileWatchType = "modify"
	WatchRemove   FileWatchType = "remove"
	WatchRename   FileWatchType = "rename"
	WatchChmod    FileWatchType = "chmod"
	WatchOverflow FileWatchType = "overflow"
	WatchLimited  FileWatchType = "limited"
)

// FileWatchEvent is one change under a watched path. A rename carries the old
// path, and a create of the new one follows when that is watched too. A create
// may come twice for what appears in a new directory. After an overflow changes
// were missed and the tree is to be listed again; after limited the directory at
// path is not watched.
type FileWatchEvent struct {
	Type  FileWatchType `json:"type" enum:"create,modify,remove,rename,chmod,overflow,limited"`
	Path  string        `json:"path,omitempty"`
	Kind  FileKind      `json:"kind,omitempty" doc:"Of what is there now; absent when nothing is"`
	Time  time.Time     `json:"time"`
	Error string        `json:"error,omitempty"`
}

// FileSearchRequest looks for files by name, by content or by both.
type FileSearchRequest struct {
	Path       string `json:"path,omitempty" doc:"Where to start; home when absent"`
	Name       string `json:"name,omitempty" doc:"Glob if it has any of *?[{, else a part of the name; a glob with a slash is matched against the path below the start"`
	Content    string `json:"content,omitempty" doc:"Text that a line of the file has"`
	Regex      bool   `json:"regex,omitempty" doc:"content is a regular expression (RE2)"`
	IgnoreCase bool   `json:"ignoreCase,omitempty"`
	Hidden     bool   `json:"hidden,omitempty" doc:"Look into names that start with a dot as well"`
	NoIgnore   bool   `json:"noIgnore,omitempty" doc:"Do not honour .gitignore and .ignore files"`
	Limit      int    `json:"limit,omitempty" doc:"Most matches to give"`
}

// FileSearchMatch is one finding. Line, Column and Text are set only for a
// search of contents.
type FileSearchMatch struct {
	Path      string    `json:"path"`
	EntryType EntryType `json:"entryType" enum:"file,directory"`
	Line      int       `json:"line,omitempty" doc:"From 1"`
	Column    int       `json:"column,omitempty" doc:"From 1, in bytes"`
	Text      string    `json:"text,omitempty" doc:"The line, cut when it is long"`
}

// FileSearchSummary ends a search.
type FileSearchSummary struct {
	Matches   int  `json:"matches"`
	Entries   int  `json:"entries" doc:"Files and directories looked at"`
	Truncated bool `json:"truncated" doc:"Whether a limit ended the search"`
}

// FileSearchResult is a whole search in one answer.
type FileSearchResult struct {
	Matches []FileSearchMatch `json:"matches"`
	Summary FileSearchSummary `json:"summary"`
}
