package api

import "strings"

// RefuseNUL returns a problem if one of the texts, which what names, has a NUL byte: the
// kernel takes it for the end of a path, an argument, or a variable.
func RefuseNUL(code Code, what string, texts ...string) error {
	for _, text := range texts {
		if strings.IndexByte(text, 0) >= 0 {
			return InvalidRequest(code, "%s has a NUL byte: %q", what, text)
		}
	}
	return nil
}

// CheckEnv returns a problem if variables cannot be those of a process.
func CheckEnv(env map[string]string) error {
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return InvalidRequest(CodeInvalidRequest, "invalid name of environment variable: %q", name)
		}
		if strings.IndexByte(value, 0) >= 0 { // may be a secret, so it is not repeated
			return InvalidRequest(CodeInvalidRequest, "the value of environment variable %s has a NUL byte", name)
		}
	}
	return nil
}
