package files

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/sandboxagent/sandboxagent/api"
)

// osText has the texts of the earlier server, which differ from Go's.
var osText = map[syscall.Errno]string{
	syscall.EPERM:        "Operation not permitted",
	syscall.ENOENT:       "No such file or directory",
	syscall.EIO:          "I/O error",
	syscall.ENXIO:        "No such device or address",
	syscall.ENOMEM:       "Out of memory",
	syscall.EACCES:       "Permission denied",
	syscall.EBUSY:        "Resource busy",
	syscall.EEXIST:       "File exists",
	syscall.EXDEV:        "Cross-device link",
	syscall.ENODEV:       "No such device",
	syscall.ENOTDIR:      "Not a directory",
	syscall.EISDIR:       "Is a directory",
	syscall.EINVAL:       "Invalid argument",
	syscall.ENFILE:       "Too many open files in system",
	syscall.EMFILE:       "No file descriptors available",
	syscall.ETXTBSY:      "Text file busy",
	syscall.EFBIG:        "File too large",
	syscall.ENOSPC:       "No space left on device",
	syscall.EROFS:        "Read-only file system",
	syscall.EMLINK:       "Too many links",
	syscall.ENAMETOOLONG: "Filename too long",
	syscall.ENOTEMPTY:    "Directory not empty",
	syscall.ELOOP:        "Symbolic link loop",
	syscall.EDQUOT:       "Quota exceeded",
	syscall.ESTALE:       "Stale file handle",
	syscall.EOPNOTSUPP:   "Not supported",
}

var osCode = map[syscall.Errno]api.Code{
	syscall.EPERM:        api.CodePermissionDenied,
	syscall.EACCES:       api.CodePermissionDenied,
	syscall.EBUSY:        api.CodeBusy,
	syscall.ETXTBSY:      api.CodeBusy,
	syscall.EEXIST:       api.CodeAlreadyExists,
	syscall.ENOTDIR:      api.CodeNotADirectory,
	syscall.EISDIR:       api.CodeIsADirectory,
	syscall.ENFILE:       api.CodeTooManyFiles,
	syscall.EMFILE:       api.CodeTooManyFiles,
	syscall.EFBIG:        api.CodeFileTooLarge,
	syscall.ENOSPC:       api.CodeNoSpace,
	syscall.EDQUOT:       api.CodeNoSpace,
	syscall.EROFS:        api.CodeReadOnly,
	syscall.ENAMETOOLONG: api.CodeNameTooLong,
	syscall.ENOTEMPTY:    api.CodeNotEmpty,
	syscall.ELOOP:        api.CodeLinkLoop,
	syscall.EOPNOTSUPP:   api.CodeNotSupported,
}

// problem maps an error of the operating system at path to its [api.Error].
// Problems pass unchanged, as do errors that no system call made.
func problem(err error, path string) error {
	if err == nil {
		return nil
	}
	var made *api.Error
	if errors.As(err, &made) {
		return err
	}
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err
	}
	if no == syscall.ENOENT {
		return notFound(path)
	}
	return osProblem(codeOf(no), no, path)
}

func codeOf(no syscall.Errno) api.Code {
	if code, ok := osCode[no]; ok {
		return code
	}
	return api.CodeOSError
}

func notFound(path string) error {
	return api.InvalidRequest(api.CodePathNotFound, "path not found: %s", path).With("path", path)
}

func osProblem(code api.Code, no syscall.Errno, path string) error {
	return api.StreamError(code, "%w", osError{no}).With("path", path)
}

// osError prints an errno as the earlier server does and unwraps to it.
type osError struct{ no syscall.Errno }

func (e osError) Error() string {
	text, ok := osText[e.no]
	if !ok {
		text = e.no.Error()
	}
	return fmt.Sprintf("%s (os error %d)", text, int(e.no))
}

func (e osError) Unwrap() error { return e.no }
